"""Model cards (Mitchell et al., 2019, arXiv:1810.03993) in Markdown, filled from manifest and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined

NETWORKS = {
    "cnn": "a convolutional network (local contrast, five 3x3 convolutions, batch norm, global max pooling)",
    "rnn": "a recurrent network that reads the image as a sequence of rows or pixels",
    "gan": "the generator of a class-conditional GAN, averaged over training",
}
CLASSIFIER_IO = (
    "Takes uint8 images `(n, 28, 28)`, ink 255 on background 0; returns `label` `(n,)` and `probabilities` `(n, 10)`."
)
INTERFACES = {
    "cnn": CLASSIFIER_IO,
    "rnn": CLASSIFIER_IO,
    "gan": "Takes columns `digit` (0 to 9) and `seed` (0 or more); returns `images` uint8 `(n, 28, 28)`.",
}


def model_card(
    model: str,
    manifest: Mapping[str, Any],
    description: Mapping[str, Any],
    metrics: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
) -> str:
    """Fill the card of one model.

    Args:
        model: cnn, rnn or gan.
        manifest: data/processed/manifest.json.
        description: models/NAME/model.json.
        metrics: the flat metrics of train and evaluate.
        gates: what `deepdigits.gates.check_gates` found.
    """
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    own = {key.removeprefix(f"{model}."): value for key, value in metrics.items() if key.startswith(f"{model}.")}
    return environment.from_string(CARD).render(
        model=model,
        network=NETWORKS[model],
        interface=INTERFACES[model],
        manifest=manifest,
        config=description["config"],
        metrics=own,
        gates=[gate for gate in gates if gate["model"] == model],
    )


CARD = """# {{ manifest.name }}-{{ model }}

{{ network[0]|upper }}{{ network[1:] }}, trained on {{ manifest.title }}.

## Interface

{{ interface }}

## Intended use

{% if model == 'gan' %}
Drawing synthetic digits for teaching, tests and augmentation studies. Not for passing images off as real handwriting.
{% else %}
Reading single, centred, handwritten digits as in its training data: teaching, benchmarks and pipeline tests. Not for
postal, banking or medical documents without validation on such data.
{% endif %}

## Data

{{ manifest.title }}. Source: {{ manifest.source }}.
{% for name in ('train', 'validation', 'test') %}
- {{ name }}: {{ "{:,}".format(manifest.splits[name].count) }} images
{% endfor %}
- content SHA-256: `{{ manifest.sha256 }}`

The best epoch was chosen on the validation images; the test images were read once, after training.

## Figures

| measure | value |
| --- | --- |
{% if model == 'gan' %}
| FID in the CNN's features, {{ "{:,}".format(metrics.samples) }} samples | {{ "%.3f"|format(metrics.fid) }} |
| the same between two sets of real images | {{ "%.3f"|format(metrics.fid_floor) }} |
| coverage, recall | {{ "%.3f"|format(metrics.coverage) }}, {{ "%.3f"|format(metrics.recall) }} |
| precision, density | {{ "%.3f"|format(metrics.precision) }}, {{ "%.3f"|format(metrics.density) }} |
| variety inside a class, over that of real images: mean, least | {{ "%.3f"|format(metrics.diversity) }}, {{ "%.3f"|format(metrics.diversity_min) }} |
| read by the CNN as the digit asked for (95 % interval) | {{ "%.2f"|format(100 * metrics.class_accuracy) }} % ({{ "%.2f"|format(100 * metrics.class_accuracy_low) }} to {{ "%.2f"|format(100 * metrics.class_accuracy_high) }}) |
| accuracy on real test images of a CNN trained on generated ones alone (95 % interval) | {{ "%.2f"|format(100 * metrics.synthetic_accuracy) }} % ({{ "%.2f"|format(100 * metrics.synthetic_accuracy_low) }} to {{ "%.2f"|format(100 * metrics.synthetic_accuracy_high) }}) |
| distance to the nearest training image, over that of real test images: median, lowest percent | {{ "%.3f"|format(metrics.novelty) }}, {{ "%.3f"|format(metrics.novelty_lowest_percent) }} |
| share that fools its own discriminator, and one trained anew (0.5 is ideal) | {{ "%.3f"|format(metrics.fool_rate) }}, {{ "%.3f"|format(metrics.fool_rate_fresh) }} |
| training ended by | {{ metrics.stopped_by }} after {{ metrics.epochs }} epochs |

FID is measured in the features of the CNN with weights `{{ metrics.feature_network_sha256 }}`; figures of other
feature networks do not compare.
{% else %}
| test accuracy (95 % Wilson interval) | {{ "%.2f"|format(100 * metrics['test.accuracy']) }} % ({{ "%.2f"|format(100 * metrics['test.accuracy_low']) }} to {{ "%.2f"|format(100 * metrics['test.accuracy_high']) }}) |
| test errors | {{ "%d"|format(metrics['test.errors']) }} |
| macro F1 | {{ "%.4f"|format(metrics['test.macro_f1']) }} |
| lowest recall of a digit | {{ "%.4f"|format(metrics['test.min_class_recall']) }} |
| negative log-likelihood, nats | {{ "%.4f"|format(metrics['test.nll']) }} |
| expected calibration error, and before temperature scaling | {{ "%.4f"|format(metrics['test.ece']) }}, {{ "%.4f"|format(metrics['test.ece_uncalibrated']) }} |
| temperature, fitted on validation and part of the model | {{ "%.3f"|format(metrics['test.temperature']) }} |
| share of images that can be answered at 99.9 % accuracy | {{ "%.3f"|format(metrics['test.coverage_at_99_9']) }} |
| accuracy under fifteen corruptions (MNIST-C): mean, worst | {{ "%.2f"|format(100 * metrics['test.corrupted_mean']) }} %, {{ "%.2f"|format(100 * metrics['test.corrupted_worst']) }} % |
| validation accuracy | {{ "%.2f"|format(100 * metrics['val.accuracy']) }} % |
| parameters | {{ "{:,}".format(metrics.parameters) }} |
{% endif %}

## Floors it passed

{% for gate in gates %}
- {{ gate.metric }} {{ gate.rule }} {{ gate.limit }}: {{ "%.4f"|format(gate.value) }}
{% endfor %}

## Limits

{% if model == 'gan' %}
Samples look like the training data: one set of writers, 28x28 pixels, no background. Variety is below that of real
images, and some samples are read as another digit than the one asked for.
{% else %}
One set of writers, 28x28 pixels, ink on an empty background, centred. Other digits, noise, or anything that is no
digit still get one of ten answers. Accuracy on other handwriting was not measured.
{% endif %}

## Configuration

{% for key, value in config.items() %}
- {{ key }}: {{ value }}
{% endfor %}
"""
