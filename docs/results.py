"""Draw docs/results.png from the last run's figures: `.venv/bin/python docs/results.py` from the repository's root."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import imread

REPORTS = Path("reports")
PANELS = {
    "gan/samples": "GAN: one digit a row",
    "swap/table": "swap: a source, then its handwriting as 0 to 9",
    "detector/test_found": "detector: test scenes",
    "segmenter/overlays": "segmenter: test scenes",
}


def main() -> None:
    metrics: dict[str, float] = {}
    for path in sorted((REPORTS / "metrics").glob("evaluate_*.json")):
        metrics |= json.loads(path.read_text(encoding="utf-8"))
    figure = Figure(figsize=(10.5, 8.4), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        axes.imshow(imread(REPORTS / "figures" / f"{name}.png"), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=11)
        axes.axis("off")
    figure.suptitle(headline(metrics), fontsize=11)
    figure.savefig("docs/results.png", dpi=100, metadata={"Software": None})


def headline(m: dict[str, float]) -> str:
    return (
        f"CNN {m['cnn.test.accuracy']:.2%}   RNN {m['rnn.test.accuracy']:.2%} test accuracy      GAN: FID "
        f"{m['gan.test.fid']:.3f} (real against real {m['gan.test.fid_floor']:.3f}), "
        f"coverage {m['gan.test.coverage']:.3f}\n"
        f"swap read as asked {m['swap.test.identity']:.2%}      fakes: area under the ROC {m['fakes.test.auc']:.4f}"
        f"      detector mAP {m['detector.test.map']:.3f}      segmenter mean IoU {m['segmenter.test.miou']:.3f}"
    )


if __name__ == "__main__":
    main()
