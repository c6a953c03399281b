"""The recurrent network that reads an image pixel by pixel: 784 time steps, each fed by the one before."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepdigits.nn.contrast import Temperature
from deepdigits.tasks.rnn.config import RnnNet

PIXEL_MEAN, PIXEL_STD = 0.1307, 0.3081  # of MNIST's training images in [0, 1]
STATES = 8  # complex states per channel
MERGED = 4  # time steps merged into one for the deeper layers


class DiagonalRecurrence(nn.Module):
    """Per channel, h[t] = a * h[t-1] + x[t] with complex `a` inside the unit circle, y[t] = Re(c . h[t]) + d * x[t].

    A diagonal state space model (S4D-Lin; Gu et al., 2022, arXiv:2206.11893). Because it is linear, all outputs can be
    computed with matrix products, within and between blocks of sqrt(t) time steps, instead of t sequential steps.

    float32 `(channels, n, t)` -> the same shape; t must be a square number.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.log_step = nn.Parameter(torch.empty(channels, 1).uniform_(math.log(0.001), math.log(0.1)))
        self.log_decay = nn.Parameter(torch.full((channels, STATES), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(STATES).float().repeat(channels, 1))
        self.read_out = nn.Parameter(torch.randn(2, channels, STATES))
        self.skip = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, sequence: Tensor) -> Tensor:
        channels, count, steps = sequence.shape
        side = math.isqrt(steps)
        blocks = sequence.view(channels, count * side, side)
        instants = torch.arange(side, device=sequence.device)
        lag = instants[None, :] - instants[:, None]

        weights = self._read_out_weights(side + 1)  # (channels, 2 * states, side + 1): lag 0 to side
        kernel = weights[:, :STATES].sum(dim=1)  # the impulse response
        inside = kernel[:, lag.clamp(min=0)] * (lag >= 0) + self.skip * torch.eye(side, device=sequence.device)
        local = torch.bmm(blocks, inside)

        to_end = torch.cat([*self._powers(instants.flip(0))], dim=1)  # (channels, 2 * states, side)
        ends = torch.bmm(to_end, blocks.transpose(1, 2)).view(channels, 2, STATES, count, side)
        carried = self._carry(ends, side, lag).view(channels, 2 * STATES, count * side)
        out = torch.baddbmm(local, carried.transpose(1, 2), weights[:, :, 1:])
        return out.view(channels, count, steps)

    def _powers(self, lag: Tensor) -> tuple[Tensor, Tensor]:
        """a to the power of `lag`, of any shape: real and imaginary parts `(channels, states, *lag.shape)`."""
        index = (..., *[None] * lag.dim())
        step = torch.exp(self.log_step)
        size = torch.exp(-(step * torch.exp(self.log_decay))[index] * lag)
        turn = (step * self.frequency)[index] * lag
        return size * torch.cos(turn), size * torch.sin(turn)

    def _read_out_weights(self, length: int) -> Tensor:
        """What a state contributes to the output after 0 to length - 1 steps, for its real and imaginary parts."""
        real, imaginary = self._powers(torch.arange(length, device=self.log_step.device))
        c_real, c_imaginary = (2 * torch.exp(self.log_step) * self.read_out).unsqueeze(3)
        return torch.cat([c_real * real - c_imaginary * imaginary, -c_real * imaginary - c_imaginary * real], dim=1)

    def _carry(self, ends: Tensor, side: int, lag: Tensor) -> Tensor:
        """The state at the start of each block, given what all earlier blocks contribute at their ends."""
        channels, _, _, count, _ = ends.shape
        real, imaginary = ends.transpose(0, 1).reshape(2, channels * STATES, count, side)
        past = (lag > 0).float()
        power_real, power_imaginary = (
            (part * past).view(channels * STATES, side, side) for part in self._powers(side * (lag - 1).clamp(min=0))
        )
        carried = torch.stack(
            [
                torch.bmm(real, power_real) - torch.bmm(imaginary, power_imaginary),
                torch.bmm(real, power_imaginary) + torch.bmm(imaginary, power_real),
            ]
        )
        return carried.view(2, channels, STATES, count, side).transpose(0, 1).contiguous()


class PixelRnn(nn.Module):
    """Gated blocks of `DiagonalRecurrence`, all strictly causal.

    The first block reads every pixel. Its time steps are then merged in groups of four, so the deeper blocks read 196.
    The mean and the last state of the last block give the logits.

    float32 `(n, 1, 28, 28)` in [0, 1] -> logits `(n, classes)`.
    """

    def __init__(self, config: RnnNet):
        super().__init__()
        self.by_column = config.reads == "columns"
        narrow, wide = config.hidden // 2, config.hidden
        self.enter = nn.Linear(1, narrow)
        self.first = _Block(narrow, config.dropout)
        self.merge = nn.Linear(MERGED * narrow, wide)
        self.deeper = nn.ModuleList(_Block(wide, config.dropout) for _ in range(config.layers - 1))
        self.head = nn.Linear(2 * wide, config.classes)
        self.temperature = Temperature()

    def forward(self, images: Tensor) -> Tensor:
        ordered = images.transpose(2, 3) if self.by_column else images
        pixels = (ordered.flatten(1) - PIXEL_MEAN) / PIXEL_STD
        hidden = self.first(_mix(self.enter, pixels.unsqueeze(0)))
        width, count, steps = hidden.shape
        merged = hidden.view(width, count, steps // MERGED, MERGED).permute(3, 0, 1, 2).flatten(0, 1)
        hidden = _mix(self.merge, merged)
        for block in self.deeper:
            hidden = block(hidden)
        logits: Tensor = self.temperature(self.head(torch.cat([hidden.mean(dim=2), hidden[:, :, -1]]).T))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))
        self.recurrence = DiagonalRecurrence(width)
        self.gate = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        normed = hidden * torch.rsqrt(hidden.square().mean(dim=0, keepdim=True) + 1e-6) * self.gain
        value, gate = _mix(self.gate, F.gelu(self.recurrence(normed))).chunk(2)
        out: Tensor = hidden + self.dropout(value * torch.sigmoid(gate))
        return out


def _mix(layer: nn.Linear, hidden: Tensor) -> Tensor:
    """Apply `layer` over the channels of `(width, n, t)`; with channels first, the recurrence needs no transposes."""
    mixed = torch.addmm(layer.bias[:, None], layer.weight, hidden.flatten(1))
    return mixed.view(-1, *hidden.shape[1:])
