"""The pixel-by-pixel network: its two-level scan equals the step-by-step recurrence that it stands for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from deepdigits.tasks.rnn.config import RnnNet
from deepdigits.tasks.rnn.s4d import STATES, DiagonalRecurrence, PixelRnn

NET = RnnNet(cell="s4d", hidden=8, layers=2, bidirectional=False, dropout=0.0)


def step_by_step(module: DiagonalRecurrence, sequence: Tensor) -> Tensor:
    step = torch.exp(module.log_step)
    factor = torch.exp(torch.complex(-torch.exp(module.log_decay) * step, module.frequency * step))
    read_out = 2 * step * torch.complex(*module.read_out)
    channels, count, steps = sequence.shape
    state = torch.zeros(channels, count, STATES, dtype=torch.complex64)
    outputs = []
    for instant in range(steps):
        state = factor[:, None] * state + sequence[:, :, instant, None]
        outputs.append((read_out[:, None] * state).sum(dim=2).real + module.skip[:, :, 0] * sequence[:, :, instant])
    return torch.stack(outputs, dim=2)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 12), st.integers(0, 2**31))
def test_the_scan_equals_the_recurrence(channels: int, count: int, side: int, seed: int) -> None:
    torch.manual_seed(seed)
    module = DiagonalRecurrence(channels)
    sequence = torch.randn(channels, count, side * side)
    with torch.no_grad():
        assert torch.allclose(module(sequence), step_by_step(module, sequence), atol=1e-4)


def test_the_network_never_looks_ahead() -> None:
    torch.manual_seed(0)
    module = DiagonalRecurrence(3)
    one = torch.randn(3, 1, 784)
    two = one.clone()
    two[:, :, 400:] += 1
    assert torch.allclose(module(one)[:, :, :400], module(two)[:, :, :400], atol=1e-5)
    assert not torch.allclose(module(one)[:, :, 400:], module(two)[:, :, 400:], atol=1e-3)


def test_early_pixels_still_influence_the_answer() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 1, 28, 28).requires_grad_()
    PixelRnn(NET)(image)[0, 0].backward()
    assert image.grad is not None
    assert image.grad[0, 0, 0].abs().min() > 0


def test_an_impossible_configuration_is_refused() -> None:
    with pytest.raises(ValidationError, match="only reads forwards"):
        RnnNet(cell="s4d", hidden=8, layers=2, bidirectional=True, dropout=0.0)
