"""Training of the conditional GAN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel

from deepdigits.tasks.gan.config import TrainGan
from deepdigits.tasks.gan.network import Discriminator, Generator
from deepdigits.training.sharding import ShardedTraining

# The share of samples that score above the median real image of their batch, before the step that trains on both. The
# mean over an epoch's steps settles. Measured once at its end, it jumps with each step of the discriminator.
FOOL_RATE = "train/fool_rate"


def _warm_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential moving average with a short initial horizon, so that the untrained weights are soon forgotten."""

    def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current  # the batch norm's batch counter
        count = int(updates)
        return torch.lerp(current, averaged, min(decay, (1 + count) / (10 + count)))

    return average


def generator_slope(shown: Tensor, logits: Tensor) -> Tensor:
    """The gradient of the generator's loss at the samples `shown`, whose discriminator loss has been backpropagated.

    Both losses are functions of the same logit of each sample: softplus(-l), with slope -sigmoid(-l), and softplus(l),
    with slope sigmoid(l). One gradient is the other times -exp(-l), which spares the generator a pass of its own
    through the discriminator.

    Args:
        shown: `(n, 1, 28, 28)`, with the gradient of the discriminator's loss.
        logits: the discriminator's, `(n,)`.
    """
    assert shown.grad is not None
    return shown.grad * -torch.exp(-logits).view(-1, 1, 1, 1)


class ConditionalGan(ShardedTraining):
    """Non-saturating logistic losses (Goodfellow et al., 2014, arXiv:1406.2661) with lazy R1 regularisation.

    R1 regularises the discriminator on real images (Mescheder et al., 2018, arXiv:1801.04406). The network that is
    evaluated and kept is an exponential moving average of the generator.
    """

    def __init__(self, config: TrainGan):
        super().__init__()
        self.config = config
        self.generator = Generator(config.net)
        self.discriminator = Discriminator(config.net)
        self.averaged = AveragedModel(self.generator, avg_fn=_warm_average(config.ema_decay), use_buffers=True)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        optimizer_g, optimizer_d = self.optimizers()  # type: ignore[attr-defined]
        for real, digits in self.turns(batch, batch_index):
            noise = torch.randn(len(real), self.config.net.noise_dim).to(real)
            fake_digits = torch.randint(self.config.net.classes, (len(real),)).to(digits.device)
            fake = self.generator(noise, fake_digits)
            shown = fake.detach().requires_grad_()
            logits = self.discriminator(shown, fake_digits)
            real_logits, penalty = self._judge_real(real, digits, batch_index % self.config.r1_every == 0)
            # Lazy regularisation: apply it every k-th step, k times as strong (Karras et al., 2020, arXiv:1912.04958).
            strength = self.config.r1_gamma / 2 * self.config.r1_every
            loss_real = F.softplus(-real_logits).mean() + sum(strength * value for value in penalty.values())
            loss_d = loss_real + F.softplus(logits).mean()
            self.manual_backward(loss_d)
            self.manual_backward(fake, gradient=generator_slope(shown, logits.detach()))
            fooled = (logits > real_logits.detach().float().quantile(0.5)).float().mean()
            losses = {"generator_loss": F.softplus(-logits).mean(), "discriminator_loss": loss_d, "fool_rate": fooled}
            self.note({**losses, **penalty})
        self.step(optimizer_d, optimizer_g)
        self.averaged.update_parameters(self.generator)

    def configure_optimizers(self) -> Any:
        rate, betas = self.config.learning_rate, (0.5, 0.99)
        return [
            Adam(self.generator.parameters(), lr=rate, betas=betas, fused=True),
            Adam(self.discriminator.parameters(), lr=rate, betas=betas, fused=True),
        ]

    def _judge_real(self, real: Tensor, digits: Tensor, penalize: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's logits for real images and, if wanted, the R1 penalty."""
        if not penalize:
            return self.discriminator(real, digits), {}
        real = real.detach().requires_grad_()
        logits = self.discriminator(real, digits)
        (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        return logits, {"r1": slope.square().sum(dim=(1, 2, 3)).mean()}
