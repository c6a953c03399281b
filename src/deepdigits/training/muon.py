"""Muon, the optimizer of the convolutional networks: it reaches the quality of AdamW or SGD in about half the steps.

The update of each weight matrix is its momentum with all singular values set to about 1 (Jordan et al., 2024,
https://kellerjordan.github.io/posts/muon/), so that no direction dominates a step. `torch.optim.Muon` accepts neither
convolution kernels nor a second rule for the remaining parameters, and computes in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

MOMENTUM = 0.95
BETAS = (0.9, 0.99)
EPSILON = 1e-8
SMALLEST = 16  # rows and columns; smaller matrices, such as first and last layers, have few directions to balance
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, tuned by Jordan et al. to need only five rounds
ROUNDS = 5
OTHERS = 0.2  # AdamW's learning rate, relative to that of the matrices


def orthogonalized(matrix: Tensor) -> Tensor:
    """Replace the singular values of `(rows, columns)` with values between about 0.7 and 1.2 (Newton-Schulz)."""
    a, b, c = COEFFICIENTS
    tall = matrix.size(0) > matrix.size(1)
    found = matrix.T if tall else matrix
    found = found / found.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.T if tall else found


class Muon(Optimizer):
    """Muon for weight matrices and convolution kernels, AdamW for all other parameters.

    Args:
        parameters: of one network.
        lr: learning rate of the matrices; all other parameters have `OTHERS` times that.
        weight_decay: decoupled, as in AdamW; not applied to vectors.
    """

    def __init__(self, parameters: Iterable[Parameter], lr: float, weight_decay: float):
        matrices: list[Parameter] = []
        others: list[Parameter] = []
        for parameter in parameters:
            (matrices if _is_matrix(parameter) else others).append(parameter)
        groups = [
            {"params": matrices, "lr": lr, "matrices": True},
            {"params": others, "lr": OTHERS * lr, "matrices": False},
        ]
        super().__init__(groups, {"weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = _update_matrix if group["matrices"] else _update_other
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, parameter.grad, self.state[parameter], group)
        return loss


def _is_matrix(parameter: Parameter) -> bool:
    return parameter.ndim >= 2 and min(len(parameter), parameter[0].numel()) >= SMALLEST


def _update_matrix(parameter: Parameter, slope: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    momentum = state.setdefault("momentum", torch.zeros_like(parameter))
    momentum.lerp_(slope, 1 - MOMENTUM)
    step = slope.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov
    scale = max(1.0, step.size(0) / step.size(1)) ** 0.5
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    parameter.add_(orthogonalized(step).view_as(parameter), alpha=-group["lr"] * scale)


def _update_other(parameter: Parameter, slope: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """One step of AdamW."""
    first, second = BETAS
    mean = state.setdefault("mean", torch.zeros_like(parameter)).lerp_(slope, 1 - first)
    square = state.setdefault("square", torch.zeros_like(parameter)).lerp_(slope.square(), 1 - second)
    count = state["count"] = state.get("count", 0) + 1
    if parameter.ndim > 1:
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
    spread = (square / (1 - second**count)).sqrt_().add_(EPSILON)
    parameter.addcdiv_(mean, spread, value=-group["lr"] / (1 - first**count))
