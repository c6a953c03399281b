"""The report page: one place that links and shows what a reviewer decides from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, StrictUndefined


@dataclass(frozen=True)
class Section:
    """What the page says of one task: measures and values, pictures (relative to the page) and captions."""

    title: str
    rows: list[tuple[str, str]]
    pictures: list[tuple[str, str]]


def report_page(
    manifest: Mapping[str, Any],
    metrics: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
    verdict: Mapping[str, Any],
    progress: Sequence[str],
    sections: Sequence[Section],
    profile: str,
) -> str:
    """Render reports/index.html.

    Args:
        manifest: data/processed/manifest.json.
        metrics: the flat metrics of the trains and of evaluate.
        gates: what `deepdigits.release.floors.check_gates` found.
        verdict: reports/metrics/validate.json.
        progress: pictures of the GAN's fixed noise, one per epoch, relative to the page.
        sections: of the tasks that have one of their own.
        profile: params.yaml's profile.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    corruptions, epsilons = (
        [key.removeprefix(prefix) for key in sorted(metrics, key=_numeric) if key.startswith(prefix)]
        for prefix in ("cnn.test.corrupted.", "cnn.test.fgsm.")
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.2f} %"
    return environment.from_string(PAGE).render(
        manifest=manifest,
        m=metrics,
        gates=gates,
        models=sorted({gate["model"] for gate in gates}),
        verdict=verdict,
        progress=progress,
        sections=sections,
        profile=profile,
        corruptions=corruptions,
        epsilons=epsilons,
    )


def _numeric(key: str) -> tuple[float, str]:
    """Sorts `a.fgsm.0.05` by its number; names after that by themselves."""
    try:
        return float(key.partition("fgsm.")[2]), key
    except ValueError:
        return 0.0, key


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>deepdigits on {{ manifest.name }}</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1080px;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1rem}td,th{border-bottom:1px solid #ddd;padding:.35rem .8rem;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}.pass{color:#18794e}.fail{color:#b42318;font-weight:700}
figure{margin:0 1rem 1rem 0;display:inline-block;vertical-align:top}figcaption{font-size:.85rem;color:#555}
img{max-width:100%}figure.half{width:47%}figure.third{width:30%}nav a{margin-right:1rem}.note{background:#fff7e0;padding:.6rem 1rem}
code{font-size:.85rem;overflow-wrap:anywhere}
</style></head><body>
<h1>deepdigits on {{ manifest.name }}</h1>
<p>{{ manifest.title }}: {{ "{:,}".format(manifest.splits.train.count) }} training,
{{ "{:,}".format(manifest.splits.validation.count) }} validation and
{{ "{:,}".format(manifest.splits.test.count) }} test images. Models were chosen on validation; the test images were read once.</p>
{% if profile != 'default' %}<p class="note">Profile <b>{{ profile }}</b>: a quick trial, not the full training.</p>{% endif %}
{% if manifest.name != 'mnist' %}<p class="note">This is not MNIST: no mirror could be reached, so scikit-learn's bundled digits stand in.</p>{% endif %}
<nav><a href="data_docs/index.html">Data validation ({{ verdict['expectations.evaluated'] }} expectations,
{{ verdict['expectations.failed'] }} failed)</a>
<a href="scene_docs/index.html">Validation of the scenes</a>
{% for model in models %}<a href="../models/{{ model }}/model_card.md">Model card: {{ model }}</a>{% endfor %}
<a href="metrics/evaluate.json">All metrics</a></nav>

<h2>Floors</h2>
<table><tr><th>model</th><th>measure</th><th>value</th><th>floor</th><th></th></tr>
{% for gate in gates %}<tr><td>{{ gate.model }}</td><td>{{ gate.metric }}</td><td class="n">{{ "%.4f"|format(gate.value) if gate.value is number else gate.value }}</td>
<td class="n">{{ gate.rule }} {{ gate.limit }}</td><td class="{{ 'pass' if gate.passed else 'fail' }}">{{ 'passed' if gate.passed else 'FAILED' }}</td></tr>
{% endfor %}</table>

<h2>Classifiers</h2>
<table><tr><th></th><th>test accuracy</th><th>95 % interval</th><th>errors</th><th>lowest recall</th><th>NLL</th>
<th>calibration error</th><th>before scaling</th><th>parameters</th></tr>
{% for model in ('cnn', 'rnn') %}{% set t = model ~ '.test.' %}
<tr><th>{{ model|upper }}</th><td class="n">{{ m[t ~ 'accuracy']|percent }}</td>
<td class="n">{{ m[t ~ 'accuracy_low']|percent }} to {{ m[t ~ 'accuracy_high']|percent }}</td>
<td class="n">{{ "%d"|format(m[t ~ 'errors']) }}</td><td class="n">{{ m[t ~ 'min_class_recall']|percent }}</td>
<td class="n">{{ "%.4f"|format(m[t ~ 'nll']) }}</td><td class="n">{{ "%.4f"|format(m[t ~ 'ece']) }}</td>
<td class="n">{{ "%.4f"|format(m[t ~ 'ece_uncalibrated']) }}</td>
<td class="n">{{ "{:,}".format(m[model ~ '.parameters']) }}</td></tr>
{% endfor %}</table>
{% if 'cnn.test.accuracy_undisputed' in m %}
<p>Without the fifteen test images whose labels a public relabelling found disputed:
CNN {{ m['cnn.test.accuracy_undisputed']|percent }}, RNN {{ m['rnn.test.accuracy_undisputed']|percent }}. The score on all images stays the headline.</p>
{% endif %}
<p>The same test images, exact McNemar test: only the CNN is right on {{ m['mcnemar.only_cnn_right'] }}, only the RNN on
{{ m['mcnemar.only_rnn_right'] }}, both are wrong on {{ m['mcnemar.both_wrong'] }}; p = {{ "%.3g"|format(m['mcnemar.p_value']) }}.</p>
<figure><img src="figures/evaluate/classifiers_contradicted.png" alt="contradicted labels"><figcaption>For a person to judge: is the label wrong, or are the networks?</figcaption></figure>
<h3>Where images are not as in training</h3>
<table><tr><th></th><th>mean of 15 corruptions</th><th>worst</th>{% for e in epsilons %}<th>FGSM {{ e }}</th>{% endfor %}<th>answers at 99.9 %</th><th>area, selective</th></tr>
{% for model in ('cnn', 'rnn') %}{% set t = model ~ '.test.' %}
<tr><th>{{ model|upper }}</th><td class="n">{{ m[t ~ 'corrupted_mean']|percent }}</td><td class="n">{{ m[t ~ 'corrupted_worst']|percent }}</td>
{% for e in epsilons %}<td class="n">{{ m[t ~ 'fgsm.' ~ e]|percent }}</td>{% endfor %}
<td class="n">{{ m[t ~ 'coverage_at_99_9']|percent }}</td><td class="n">{{ "%.5f"|format(m[t ~ 'selective_area']) }}</td></tr>
{% endfor %}</table>
<figure><img src="figures/evaluate/classifiers_corrupted.png" alt="accuracy by corruption"></figure>
<table><tr><th>corruption</th><th>CNN</th><th>RNN</th></tr>
{% for name in corruptions %}<tr><td>{{ name|replace('_', ' ') }}</td><td class="n">{{ m['cnn.test.corrupted.' ~ name]|percent }}</td><td class="n">{{ m['rnn.test.corrupted.' ~ name]|percent }}</td></tr>
{% endfor %}</table>
<figure class="half"><img src="figures/evaluate/classifiers_corruptions.png" alt="corrupted digits"><figcaption>One row per corruption, in the order of the table.</figcaption></figure>
<figure class="half"><img src="figures/evaluate/classifiers_fgsm.png" alt="accuracy under attack"><figcaption>Fast gradient sign method.</figcaption>
<img src="figures/evaluate/classifiers_selective.png" alt="selective accuracy"><figcaption>The least confident answers go to a person.</figcaption></figure>
<h3>What they have learned</h3>
<figure><img src="figures/evaluate/cnn_first_layer.png" alt="kernels and feature maps"><figcaption>CNN: shared weights that answer to local patterns.</figcaption></figure>
<figure><img src="figures/evaluate/rnn_by_row.png" alt="belief by row"><figcaption>RNN: what has been read is remembered.</figcaption></figure>
{% for model in ('cnn', 'rnn') %}
<h3>{{ model|upper }}</h3>
<figure class="half"><img src="figures/evaluate/{{ model }}_confusion.png" alt="confusion matrix"><figcaption>Counts; errors are coloured.</figcaption></figure>
<figure class="half"><img src="figures/evaluate/{{ model }}_reliability.png" alt="reliability diagram"><figcaption>Is it right as often as it is sure?</figcaption></figure>
<figure><img src="figures/evaluate/{{ model }}_mistakes.png" alt="worst mistakes"><figcaption>The most confident mistakes, with their index in the test set.</figcaption></figure>
<figure><img src="figures/evaluate/{{ model }}_occlusion.png" alt="occlusion maps"><figcaption>Red: blanking five pixels around it makes the wrong answer less likely.</figcaption></figure>
<table><tr><th>digit</th>{% for d in range(10) %}<th>{{ d }}</th>{% endfor %}</tr>
{% for key in ('precision', 'recall', 'f1') %}<tr><th>{{ key }}</th>{% for d in range(10) %}
<td class="n">{{ "%.4f"|format(m[model ~ '.test.' ~ key ~ '.' ~ d]) }}</td>{% endfor %}</tr>{% endfor %}</table>
{% endfor %}

<h2>GAN</h2>
<table>
<tr><th>FID, CNN features, {{ "{:,}".format(m['gan.samples']) }} samples</th><td class="n">{{ "%.4f"|format(m['gan.fid']) }}</td><td>real against real: {{ "%.4f"|format(m['gan.fid_floor']) }} (ratio {{ "%.2f"|format(m['gan.fid_ratio']) }})</td></tr>
<tr><th>coverage, recall</th><td class="n">{{ "%.3f"|format(m['gan.coverage']) }}, {{ "%.3f"|format(m['gan.recall']) }}</td><td>how much of the real images' variety is reached</td></tr>
<tr><th>precision, density</th><td class="n">{{ "%.3f"|format(m['gan.precision']) }}, {{ "%.3f"|format(m['gan.density']) }}</td><td>how close the samples are to real images</td></tr>
<tr><th>variety inside a class: mean, least</th><td class="n">{{ "%.3f"|format(m['gan.diversity']) }}, {{ "%.3f"|format(m['gan.diversity_min']) }}</td><td>1 is that of real images, 0 a collapsed generator</td></tr>
<tr><th>read as the digit asked for</th><td class="n">{{ m['gan.class_accuracy']|percent }}</td><td>least of a digit: {{ m['gan.class_accuracy_min']|percent }}</td></tr>
<tr><th>classification accuracy score</th><td class="n">{{ m['gan.synthetic_accuracy']|percent }}</td><td>CNNs trained on generated images alone read the real test images together; 95 % interval {{ m['gan.synthetic_accuracy_low']|percent }} to {{ m['gan.synthetic_accuracy_high']|percent }}</td></tr>
<tr><th>distance to the nearest training image</th><td class="n">{{ "%.3f"|format(m['gan.novelty']) }}</td><td>median, over that of real test images; below 1 would hint at memorised images. Lowest percent: {{ "%.3f"|format(m['gan.novelty_lowest_percent']) }}</td></tr>
<tr><th>fool rate, own discriminator</th><td class="n">{{ "%.3f"|format(m['gan.fool_rate']) }}</td><td>samples above the median score of real test images; 0.5 is ideal. The stopping rule uses this one, on validation</td></tr>
<tr><th>fool rate, fresh discriminator</th><td class="n">{{ "%.3f"|format(m['gan.fool_rate_fresh']) }}</td><td>the same, against one trained anew on validation images</td></tr>
<tr><th>training ended by</th><td class="n">{{ m['gan.stopped_by'] }}</td><td>after {{ m['gan.epochs'] }} epochs; kept is epoch {{ m['gan.best_epoch'] }}</td></tr>
</table>
<figure class="third"><img src="figures/evaluate/gan_samples.png" alt="generated digits"><figcaption>Generated, one digit a row.</figcaption></figure>
<figure class="third"><img src="figures/evaluate/real_samples.png" alt="real digits"><figcaption>Real test images.</figcaption></figure>
<figure class="third"><img src="figures/evaluate/gan_interpolation.png" alt="interpolation"><figcaption>From one noise to another.</figcaption></figure>
<p>FID is measured in the features of the CNN with weights <code>{{ m['gan.feature_network_sha256'] }}</code>; figures of other feature networks do not compare.</p>
<h3>Progress: the same noise after each epoch</h3>
<figure class="third"><img src="figures/gan_progress/progress.gif" alt="animation"><figcaption>All epochs, one digit a row.</figcaption></figure>
{% for picture in progress %}<figure class="third"><img src="{{ picture }}" alt="epoch {{ loop.index }}"><figcaption>Epoch {{ loop.index }}</figcaption></figure>
{% endfor %}
{% for section in sections %}
<h2>{{ section.title }}</h2>
<table>{% for measure, value in section.rows %}<tr><th>{{ measure }}</th><td class="n">{{ value }}</td></tr>
{% endfor %}</table>
{% for source, caption in section.pictures %}<figure><img src="{{ source }}" alt="{{ caption }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
{% endfor %}
<h2>Data</h2>
<p>Content SHA-256 <code>{{ manifest.sha256 }}</code>. Source: {{ manifest.source }}.</p>
</body></html>
"""
