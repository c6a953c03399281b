"""How much results differ between instruction sets, as between processors; docs/reliability.md states the bounds.

A processor without AVX-512 is emulated by the switches of PyTorch's own kernels, of oneDNN, of MKL, of NumPy and its
OpenBLAS, and of the C library.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from deepdigits.data.scenes.scenes import Scenes
from tests.conftest import ROOT

PROGRAM = """
import sys
from pathlib import Path
import numpy as np, torch
from deepdigits.core.compute import use_threads
from deepdigits.data.scenes.scenes import compose
from deepdigits.data.ingest.sources import digits_splits
from tests.unit.test_scenes import COUNT, LOOK
from tests.unit.test_training import build, train_classifier
use_threads(2)
train, test = digits_splits()
rows = np.arange(len(train))
splits = train.take(rows[:1200]), train.take(rows[1200:])
found = dict(vars(compose(train, COUNT, LOOK, [1, 0])))
for kind in ("cnn", "rnn"):
    module = build(kind)
    images = torch.from_numpy(test.images[:200]).unsqueeze(1).float() / 255
    with torch.no_grad():
        found[f"{kind}_untrained"] = torch.softmax(module.net.eval()(images), 1).numpy()
    fitted = train_classifier(module.train(), splits, Path(sys.argv[1]) / kind)
    found[f"{kind}_loss"] = np.array([row["val/loss"] for row in fitted.history])
    found[f"{kind}_weights"] = np.concatenate([value.flatten().numpy() for value in fitted.state.values()])
np.savez(Path(sys.argv[1]) / "found.npz", **found)
"""
SETS = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL",
    },
    "default": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3,X86_V4,AVX512_ICL,AVX512_SPR",
        "OPENBLAS_CORETYPE": "Nehalem",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
    },
}


def run_with(switches: dict[str, str], folder: Path) -> dict[str, np.ndarray]:
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **switches}
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], env=environment, check=True, capture_output=True)
    with np.load(folder / "found.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return run_with({}, tmp_path_factory.mktemp("native") / "run")


@pytest.mark.parametrize("name", SETS)
def test_results_differ_little_between_instruction_sets(
    name: str, native: dict[str, np.ndarray], tmp_path: Path
) -> None:
    if name.upper() == torch.backends.cpu.get_cpu_capability():
        pytest.skip(f"the processor's own instruction set is {name}")
    first = run_with(SETS[name], tmp_path / "first")
    assert all(first[part.name].tobytes() == native[part.name].tobytes() for part in fields(Scenes))
    for kind in ("cnn", "rnn"):
        answers = np.abs(first[f"{kind}_untrained"] - native[f"{kind}_untrained"]).max()
        losses = np.abs(first[f"{kind}_loss"] - native[f"{kind}_loss"]).max()
        if name == "native":
            assert all(first[key].tobytes() == native[key].tobytes() for key in native)
        else:
            assert answers < 1e-5
            assert losses < 0.1
