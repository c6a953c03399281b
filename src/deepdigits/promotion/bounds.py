"""Keeps texts within the limits of the store's columns. PostgreSQL rejects longer ones; SQLite accepts them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from deepdigits.promotion.entries import Entry

LIMIT = 5000  # characters of a description in MLflow's database; a run tag may have 8,000
REASONS = 2500  # characters of all reasons in one entry, as JSON
REASON = 500
DECISIONS = 1500  # characters kept for the decisions in a description, however long the model card is
MARK = "\n\n<!-- model card -->\n\n"
CARD_CUT = "\n\n*Truncated. The full card is model_card.md, among the files of this version.*"


def cut(text: str, limit: int, note: str = "...") -> str:
    """Truncate `text` to at most `limit` characters. A truncated text ends with `note`."""
    return text if len(text) <= limit else text[: limit - len(note)] + note


def brief(reasons: Sequence[str]) -> list[str]:
    """As many of the reasons as fit into an entry. The decision's record has all of them."""
    kept: list[str] = []
    for reason in reasons:
        kept.append(cut(reason, REASON))
        if len(json.dumps(kept)) > REASONS:
            left = len(reasons) - len(kept) + 1
            return [*kept[:-1], f"{left} more {'reason is' if left == 1 else 'reasons are'} in the decision's record."]
    return kept


def description(present: str, decisions: Sequence[Entry]) -> str:
    """A version's description: the latest decisions about it, oldest first, above its model card."""
    before, mark, after = present.partition(MARK)
    card = after if mark else before
    text = _last(decisions, max(LIMIT - len(MARK) - len(card), DECISIONS)) + MARK
    room = LIMIT - len(text)
    return text + (card if len(card) <= room else card.removesuffix(CARD_CUT)[: room - len(CARD_CUT)] + CARD_CUT)


def _last(decisions: Sequence[Entry], room: int) -> str:
    heading = "## Decisions\n\n"
    more = f"- earlier decisions: deepdigits history {decisions[-1]['name']}\n"
    lines: list[str] = []
    for entry in reversed(decisions):
        line = f"- **{entry['action']}** on {entry['time'][:10]} (ledger entry {entry['sequence']}): "
        line = cut(line + " ".join(entry["reasons"]), room - len(heading) - len(more))
        if lines and len(heading + more + "\n".join([*lines, line])) > room:
            return heading + more + "\n".join(lines[::-1])
        lines.append(line)
    return heading + "\n".join(lines[::-1])
