"""A decision as Markdown, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

from deepdigits.promotion.rules import Decision

RECORD = """# {{ subject }}: {{ decision.outcome }}

{% for reason in decision.reasons %}
- {{ reason }}
{% endfor %}

{% if champion %}
Compared with the champion, {{ champion }}, both scored now from the registered files, on {{ test_images }} test images
of data `{{ dataset }}`.
{% else %}
Scored now from the registered file, on {{ test_images }} test images of data `{{ dataset }}`.
{% endif %}

## Floors

| measure | candidate | floor | |
| --- | --- | --- | --- |
{% for gate in gates %}
| {{ gate.metric }} | {{ gate.value | figure }} | {{ gate.rule }} {{ gate.limit }} | {{ "met" if gate.passed else "**not met**" }} |
{% endfor %}
{% set n = decision.numbers %}
{% if n.contingency is defined %}

## Paired comparison

| | champion right | champion wrong |
| --- | --- | --- |
| **candidate right** | {{ n.contingency.both_right }} | {{ n.contingency.only_candidate_right }} |
| **candidate wrong** | {{ n.contingency.only_champion_right }} | {{ n.contingency.both_wrong }} |

Exact McNemar, two-sided: p = {{ n.mcnemar_p | figure }}. Accuracy differs by
{{ (100 * n.accuracy_difference) | figure }} points, {{ (100 * n.interval_confidence) | round | int }} % interval
{{ (100 * n.accuracy_difference_interval[0]) | figure }} to {{ (100 * n.accuracy_difference_interval[1]) | figure }}.

| digit | {% for digit in range(10) %}{{ digit }} | {% endfor %}

| --- | {% for digit in range(10) %}--- | {% endfor %}

| recall, points | {% for fall in n.recall_difference_by_digit %}{{ "%+.2f" | format(100 * fall) }} | {% endfor %}


Cost, over the champion's: {% for key, ratio in n.cost_ratio.items() %}{{ key }} {{ "%.2f" | format(ratio) }}{{ ", " if not loop.last }}{% endfor %}.
{% endif %}
{% if n.fid is defined %}

## Comparison

| | candidate | champion | {{ (100 * n.interval_confidence) | round | int }} % interval of the change |
| --- | --- | --- | --- |
| FID | {{ n.fid.candidate | figure }} | {{ n.fid.champion | figure }} | {{ "%+.1f" | format(100 * n.fid_change_interval[0]) }} to {{ "%+.1f" | format(100 * n.fid_change_interval[1]) }} % |
| coverage | {{ n.coverage.candidate | figure }} | {{ n.coverage.champion | figure }} | {{ "%+.2f" | format(100 * n.coverage_difference_interval[0]) }} to {{ "%+.2f" | format(100 * n.coverage_difference_interval[1]) }} points |

Paired bootstrap, {{ n.bootstrap_rounds }} rounds.
{% endif %}
{% if n.paired_measure is defined %}

## Comparison

| | candidate | champion | {{ (100 * n.interval_confidence) | round | int }} % interval of the change |
| --- | --- | --- | --- |
| {{ n.paired_measure }} | {{ n.scores.candidate | figure }} | {{ n.scores.champion | figure }} | {{ "%+.2f" | format(100 * n.difference_interval[0]) }} to {{ "%+.2f" | format(100 * n.difference_interval[1]) }} points |

Paired bootstrap over test images, {{ n.bootstrap_rounds }} rounds. Cost, over the champion's: {% for key, ratio in n.cost_ratio.items() %}{{ key }} {{ "%.2f" | format(ratio) }}{{ ", " if not loop.last }}{% endfor %}.
{% endif %}

## Origin

| | candidate |{{ " champion |" if champion }}
| --- | --- |{{ " --- |" if champion }}
{% for key in origin_keys %}
| {{ key }} | `{{ origin.candidate.get(key, "unknown") }}` |{{ " `" ~ origin.champion.get(key, "unknown") ~ "` |" if champion }}
{% endfor %}
{% for judge in judges %}

{{ judge.role }} {{ judge.name }} version {{ judge.version }} (weights `{{ judge["model.sha256"] }}`, ONNX `{{ judge["onnx.sha256"] }}`).
{% endfor %}
"""

ORIGIN_KEYS = (
    "git.commit", "git.dirty", "profile", "dataset.sha256", "stage.fingerprint", "environment.sha256", "model.sha256",
    "onnx.sha256",
)  # fmt: skip


def decision_record(subject: str, decision: Decision, facts: Mapping[str, Any]) -> str:
    """Fill the record; `facts` are champion, test_images, dataset, gates, origin and judges."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["figure"] = lambda value: f"{value:.4g}" if isinstance(value, float) else str(value)
    template = environment.from_string(RECORD)
    return template.render(subject=subject, decision=decision, origin_keys=ORIGIN_KEYS, **facts)


def change_record(title: str, reasons: list[str]) -> str:
    """The record of a change that compares nothing."""
    return f"# {title}\n\n" + "\n".join(f"- {reason}" for reason in reasons) + "\n"
