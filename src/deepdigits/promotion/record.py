"""Renders a decision as Markdown, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepdigits.core.templates import render
from deepdigits.promotion.rules import Decision

ORIGIN_KEYS = (
    "git.commit", "git.dirty", "profile", "dataset.sha256", "stage.fingerprint", "environment.sha256", "model.sha256",
    "onnx.sha256",
)  # fmt: skip


def decision_record(subject: str, decision: Decision, facts: Mapping[str, Any]) -> str:
    """Render the record. `facts` holds champion, test_images, dataset, gates, origin and judges."""
    return render("promotion/decision.md.j2", subject=subject, decision=decision, origin_keys=ORIGIN_KEYS, **facts)


def change_record(title: str, reasons: list[str]) -> str:
    """The record of a change that involves no comparison."""
    return f"# {title}\n\n" + "\n".join(f"- {reason}" for reason in reasons) + "\n"
