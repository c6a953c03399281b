"""The recurrent networks: they read an image by rows, columns or pixels, and each state feeds the next."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from deepdigits.nn.contrast import Temperature
from deepdigits.nn.loading import load_network
from deepdigits.tasks.classification.contrast import normalize
from deepdigits.tasks.rnn.config import RnnNet
from deepdigits.tasks.rnn.s4d import PixelRnn

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class RowRnn(nn.Module):
    """Contrast as `config` says, then a GRU or LSTM over 28 rows of 28 pixels, or over the columns from left to right.

    The logits come from the mean and the maximum of the states.

    float32 `(n, 1, 28, 28)` in [0, 1] -> logits `(n, classes)`.
    """

    def __init__(self, config: RnnNet):
        super().__init__()
        self.contrast = config.contrast
        self.by_column = config.reads == "columns"
        width = config.hidden * (2 if config.bidirectional else 1)
        # One module per layer with dropout in between, rather than one module with both: on a GPU, that would draw its
        # dropout from a stream of its own, which a resumed training does not continue.
        self.recurrences = nn.ModuleList(
            CELLS[config.cell](
                28 if layer == 0 else width, config.hidden, 1, batch_first=True, bidirectional=config.bidirectional
            )
            for layer in range(config.layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * width, config.classes)
        self.temperature = Temperature()

    def forward(self, images: Tensor) -> Tensor:
        states = normalize(images, self.contrast).squeeze(1)
        if self.by_column:
            states = states.transpose(1, 2)
        for layer, recurrence in enumerate(self.recurrences):
            states, _ = recurrence(self.dropout(states) if layer else states)
        pooled = torch.cat([states.mean(dim=1), states.amax(dim=1)], dim=1)
        logits: Tensor = self.temperature(self.head(self.dropout(pooled)))
        return logits


def make_rnn(config: RnnNet) -> nn.Module:
    """Build the network for `config.cell`: float32 `(n, 1, 28, 28)` in [0, 1] -> logits `(n, classes)`."""
    return PixelRnn(config) if config.cell == "s4d" else RowRnn(config)


def load_rnn(path: Path) -> nn.Module:
    """Rebuild the network from its file; see `deepdigits.nn.loading.load_network`."""
    return load_network(path, "rnn", RnnNet, make_rnn)
