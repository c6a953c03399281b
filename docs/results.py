"""Draw docs/results.png from the last run's figures: `.venv/bin/python docs/results.py` from the repository's root."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import imread

FIGURES = Path("reports/figures/evaluate")
PANELS = {
    "gan_samples": "generated, one digit a row",
    "real_samples": "real test images",
    "gan_interpolation": "from one noise to another",
}


def main() -> None:
    metrics = json.loads(Path("reports/metrics/evaluate.json").read_text())
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
        axes.imshow(imread(FIGURES / f"{name}.png"), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=11)
        axes.axis("off")
    figure.suptitle(
        f"CNN {metrics['cnn.test.accuracy']:.2%}   RNN {metrics['rnn.test.accuracy']:.2%} test accuracy      "
        f"GAN: FID {metrics['gan.fid']:.3f} (real against real {metrics['gan.fid_floor']:.3f}), "
        f"coverage {metrics['gan.coverage']:.3f}"
    )
    figure.savefig("docs/results.png", dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
