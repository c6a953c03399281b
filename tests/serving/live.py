"""Serves the small networks in a process of its own: python -m tests.serving.live FOLDER PORT"""

from __future__ import annotations

import sys
from pathlib import Path

from deepdigits.serving.app import create_app
from deepdigits.serving.champions import ChampionWatch, Served, opened
from deepdigits.serving.listening import answer, listening


class FixedWatch(ChampionWatch):
    """Serves what it was given and never looks for new champions."""

    def refresh(self) -> None:
        pass


def served_from(folder: Path) -> dict[str, Served]:
    """The networks in a folder by kind, each as version 3."""
    return {
        path.stem: opened(f"mnist-{path.stem}", 3, path, 1, {"git.commit": "c" * 40}, {"test/accuracy": 0.1})
        for path in sorted(folder.glob("*.onnx"))
    }


if __name__ == "__main__":
    watch = FixedWatch("mnist", 1)
    watch.current = served_from(Path(sys.argv[1]))
    with listening("127.0.0.1", int(sys.argv[2])) as sockets:
        answer(create_app(watch, 60), sockets)
