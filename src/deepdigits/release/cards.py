"""Model cards (Mitchell et al., 2019, arXiv:1810.03993) in Markdown, filled from manifest and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined

from deepdigits.tasks.contract import Card

ENVIRONMENT = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


def model_card(
    model: str,
    card: Card,
    manifest: Mapping[str, Any],
    description: Mapping[str, Any],
    metrics: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
) -> str:
    """Fill the card of one model.

    Args:
        model: its name.
        card: what the task says of it.
        manifest: that of its data.
        description: models/NAME/model.json.
        metrics: the flat metrics of train and evaluate.
        gates: what `deepdigits.release.floors.check_gates` found.
    """
    return ENVIRONMENT.from_string(CARD).render(
        model=model,
        card=card,
        figures=figure_rows(model, card, metrics),
        manifest=manifest,
        config=description["config"],
        weights_sha256=metrics[f"{model}.weights_sha256"],
        gates=[gate for gate in gates if gate["model"] == model],
    )


def figure_rows(model: str, card: Card, metrics: Mapping[str, Any]) -> str:
    """The card's measures and values, as rows of a Markdown table."""
    own = {key.removeprefix(f"{model}."): value for key, value in metrics.items() if key.startswith(f"{model}.")}
    return ENVIRONMENT.from_string(card.figures).render(metrics=own)


CARD = """# {{ manifest.name }}-{{ model }}

{{ card.network[0]|upper }}{{ card.network[1:] }}, trained on {{ manifest.title }}.
Weights: SHA-256 `{{ weights_sha256 }}`.

## Interface

{{ card.interface }}

## Intended use

{{ card.use }}

## Data

{{ manifest.title }}. Source: {{ manifest.source }}.
{% for name, split in manifest.splits.items() %}
- {{ name }}: {{ "{:,}".format(split.count) }} images
{% endfor %}
- content SHA-256: `{{ manifest.sha256 }}`

The best epoch was chosen on the validation images; the test images were read once, after training.

## Figures

| measure | value |
| --- | --- |
{{ figures }}
## Floors it passed

{% for gate in gates %}
- {{ gate.metric }} {{ gate.rule }} {{ gate.limit }}: {{ "%.4f"|format(gate.value) }}
{% endfor %}

## Limits

{{ card.limits }}

## Configuration

{% for key, value in config.items() %}
- {{ key }}: {{ value }}
{% endfor %}
"""
