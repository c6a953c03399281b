"""What is installed is what was locked: by hash, built by a pinned backend, in CI by pinned actions."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.conftest import ROOT


def locked() -> dict[str, str]:
    """Each requirement's name, with its version and hashes as the lock states them."""
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    return {entry.partition("==")[0]: entry.partition("==")[2] for entry in entries}


def test_every_requirement_but_torch_is_locked_with_its_hashes() -> None:
    entries = locked()
    assert len(entries) > 200
    assert [name for name, entry in entries.items() if "--hash=sha256:" not in entry] == ["torch"]


def test_the_build_backend_is_the_locked_one() -> None:
    (required,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert required == "setuptools==" + locked()["setuptools"].split()[0]


def test_a_package_that_does_not_match_the_lock_is_not_installed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "setuptools-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("setuptools.py", "an intruder")
    (tmp_path / "requirements.lock").write_text(f"setuptools==1.0 \\\n    --hash=sha256:{'0' * 64}\ntorch==2.13.0\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "MAKE"))}
    environment = own | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run(
        ["make", "-f", ROOT / "Makefile", "lint"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "setuptools==1.0" in done.stderr
    assert not list(tmp_path.glob(".venv/installed-*"))
    assert not list(tmp_path.rglob("setuptools.py"))


def test_actions_are_pinned_by_commit() -> None:
    actions = re.findall(r"uses: *(.*)", (ROOT / ".github/workflows/ci.yml").read_text())
    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action)] == []
