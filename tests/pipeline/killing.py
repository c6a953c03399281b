"""Interrupt a program at a chosen moment: when a file appears or changes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SCENES, HANDWRITING = "pipelines/scenes/dvc.yaml", "pipelines/handwriting/dvc.yaml"
# Files that show a stage is in the middle of its work: it writes them, but not as its last step.
MID_STAGE_FILES = {
    "ingest": "data/raw/train-images*",
    "validate": "reports/data_docs/*",
    f"{SCENES}:compose": "data/scenes/train.npz",
    f"{SCENES}:validate_scenes": "reports/scene_docs/*",
    "train_cnn": ".cache/training/train_cnn/*/last.ckpt",
    "train_rnn": ".cache/training/train_rnn/*/last.ckpt",
    "train_gan": ".cache/training/train_gan/*/last.ckpt",
    f"{SCENES}:train_detector": ".cache/training/train_detector/*/last.ckpt",
    f"{SCENES}:train_segmenter": ".cache/training/train_segmenter/*/last.ckpt",
    f"{HANDWRITING}:train_swap": ".cache/training/train_swap/*/last.ckpt",
    f"{HANDWRITING}:train_fakes": ".cache/training/train_fakes/*/last.ckpt",
    "evaluate@cnn": "reports/figures/cnn/*",
    "evaluate_gan": "reports/figures/gan/*",
    f"{SCENES}:evaluate@detector": "reports/figures/detector/*",
    f"{HANDWRITING}:evaluate_swap": "reports/figures/swap/*",
    "package@cnn": "models/cnn/model.onnx",
}


def run_and_signal(
    command: Sequence[str],
    root: Path,
    environment: Mapping[str, str],
    pattern: str,
    stop_signal: signal.Signals,
    seconds: float = 600,
) -> tuple[int, str]:
    """Run a command as a terminal would, and signal all its processes when a file of `pattern` appears or changes.

    Returns:
        The command's exit code and output.
    """
    before = _stamps(root, pattern)
    log = root.parent / f"{root.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell that runs the tests in the background makes its children ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            deadline = time.monotonic() + seconds
            while _stamps(root, pattern) <= before:
                assert process.poll() is None, f"the command ended before {pattern} appeared:\n{log.read_text()}"
                assert time.monotonic() < deadline, f"{pattern} did not appear:\n{log.read_text()}"
                time.sleep(0.002)
            os.killpg(process.pid, stop_signal)
            code = process.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return code, log.read_text()


def _stamps(root: Path, pattern: str) -> set[tuple[str, int]]:
    stamps = set()
    for path in root.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            stamps.add((str(path), path.stat().st_mtime_ns))
    return stamps
