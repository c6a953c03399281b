"""What is written into the store's columns, kept within them: PostgreSQL refuses what SQLite takes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from deepdigits.promotion.entries import Entry

LIMIT = 5000  # characters of a description in MLflow's database; a run's tag has 8,000
REASONS = 2500  # of all reasons in one entry, as JSON
REASON = 500
DECISIONS = 1500  # of the decisions in a description, whatever the length of the model card
MARK = "\n\n<!-- model card -->\n\n"
CARD_CUT = "\n\n*Cut; all of it is in model_card.md among the files of this version.*"


def cut(text: str, limit: int, note: str = "...") -> str:
    """`text` in at most `limit` characters; if it was cut, it ends with `note`."""
    return text if len(text) <= limit else text[: limit - len(note)] + note


def brief(reasons: Sequence[str]) -> list[str]:
    """As many of the reasons as an entry has room for; all of them stand in the decision's record."""
    kept: list[str] = []
    for reason in reasons:
        kept.append(cut(reason, REASON))
        if len(json.dumps(kept)) > REASONS:
            return [*kept[:-1], f"{len(reasons) - len(kept) + 1} more reasons are in the record of the decision."]
    return kept


def description(present: str, decisions: Sequence[Entry]) -> str:
    """A version's description: the last of the decisions about it, the oldest first, above its model card."""
    before, mark, after = present.partition(MARK)
    card = after if mark else before
    text = _last(decisions, max(LIMIT - len(MARK) - len(card), DECISIONS)) + MARK
    room = LIMIT - len(text)
    return text + (card if len(card) <= room else card.removesuffix(CARD_CUT)[: room - len(CARD_CUT)] + CARD_CUT)


def _last(decisions: Sequence[Entry], room: int) -> str:
    heading = "## Decisions\n\n"
    more = f"- earlier ones: deepdigits history {decisions[-1]['name']}\n"
    lines: list[str] = []
    for entry in reversed(decisions):
        line = f"- **{entry['action']}** on {entry['time'][:10]} (ledger entry {entry['sequence']}): "
        line = cut(line + " ".join(entry["reasons"]), room - len(heading) - len(more))
        if lines and len(heading + more + "\n".join([*lines, line])) > room:
            return heading + more + "\n".join(lines[::-1])
        lines.append(line)
    return heading + "\n".join(lines[::-1])
