"""The documentation refers only to tests that exist."""

import re

from tests.conftest import ROOT


def test_every_test_named_in_the_fault_tables_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/reliability.md").read_text(encoding="utf-8")))
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 30
    assert not {name for name in named if f"def {name}(" not in code}
