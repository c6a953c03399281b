"""Training of the identity swap."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR

from deepdigits.tasks.gan.network import Discriminator
from deepdigits.tasks.swap.config import TrainSwap
from deepdigits.tasks.swap.network import Swapper
from deepdigits.training.sharding import ShardedTraining

REMEMBERED = 1024  # how many of the latest style codes to keep for each digit
LATENT_WIDTH, LATENT_STEPS, LATENT_BATCH, LATENT_RATE = 256, 4, 1024, 1e-3
R1_GAMMA, R1_EVERY = 1.0, 8  # strength and interval of the discriminator's gradient penalty, as in the GAN
BETAS = (0.5, 0.99)
READER_RATE = 4.0  # times the learning rate, since the reader must be right before it can guide the generator
BLUR_REACH = 3  # pixels


class SwapTraining(ShardedTraining):
    """Trains the swap by four criteria, and keeps the identity out of its style codes.

    A swap is good if (1) the reader reads the new digit, (2) a discriminator takes it for real (logistic losses with
    R1, as in the GAN), (3) its slant and thickness are as unusual for the new digit as the source's are for its own,
    and (4) swapping back gives the source again.

    A style code hides the identity if the latent discriminator, a classifier of codes, is left undecided (Fader
    Networks: Lample et al., 2017, arXiv:1706.00409). The latent discriminator trains on many remembered codes of each
    digit, with several steps per encoder step. With the codes of only one batch, it would always lag behind.

    Args:
        config: the section of params.yaml.
        usual: mean and standard deviation of `handwriting` for each digit, `(2, classes, 2)`.
    """

    usual: Tensor
    remembered: Tensor

    def __init__(self, config: TrainSwap, usual: Tensor):
        super().__init__()
        self.config, style = config, config.net.gan.noise_dim
        self.classes = classes = config.net.gan.classes
        self.net = Swapper(config.net)
        self.discriminator = Discriminator(config.net.gan)
        self.latent_discriminator = nn.Sequential(
            nn.Linear(style, LATENT_WIDTH),
            nn.ReLU(),
            nn.Linear(LATENT_WIDTH, LATENT_WIDTH),
            nn.ReLU(),
            nn.Linear(LATENT_WIDTH, classes),
        )
        self.register_buffer("usual", usual)
        self.register_buffer("remembered", torch.zeros(classes, REMEMBERED, style))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        images, digits = batch
        main, critics, latent_discriminator = self.optimizers()  # type: ignore[attr-defined]
        self.seed_draws(batch_index, self.shards)
        others = (digits + torch.randint(1, self.classes, digits.shape).to(digits.device)) % self.classes
        for _ in range(LATENT_STEPS):
            self.zero_grad()
            self.manual_backward(self._latent_loss())
            self.step(latent_discriminator)
        parts = (images, digits, others)
        drawn = self._step_critics(parts, batch_index, critics)
        self.toggle_optimizer(main)  # skips the gradients of the critics' weights
        for shard, (codes, again, swapped) in zip(self.turns(parts, batch_index), drawn, strict=True):
            losses = self._losses(shard[0], shard[1], codes, again, swapped, shard[2])
            self.manual_backward(losses["loss"])
            self.note(losses)
        self.step(main)
        self.untoggle_optimizer(main)
        self._remember(self.whole([codes.detach() for codes, _, _ in drawn]), digits)
        self.step_schedules()

    def _step_critics(
        self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int, critics: Any
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return each shard's style codes, images drawn again, and swaps, after a step of the critics on them."""
        drawn = []
        penalty = R1_GAMMA / 2 * R1_EVERY if batch_index % R1_EVERY == 0 else 0.0
        for images, digits, others in self.turns(batch, batch_index):
            codes = self.net.encoder(images, digits)
            again, swapped = self.net.generator(codes.repeat(2, 1), torch.cat([digits, others])).chunk(2)
            self.manual_backward(self._critics_loss(images, digits, swapped.detach(), others, penalty))
            self.note({})
            drawn.append((codes, again, swapped))
        self.step(critics)
        return drawn

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> None:
        images, digits = batch
        others = (digits + 1 + torch.arange(len(digits), device=digits.device) % (self.classes - 1)) % self.classes
        codes = self.net.encoder(images, digits)
        again, swapped = (self.net.generator(codes, shown) for shown in (digits, others))
        losses = self._losses(images, digits, codes, again, swapped, others)
        # `val/loss` selects the best epoch. It leaves out realism and secrecy: the networks that judge them change with
        # every epoch, so their scores are not comparable between epochs.
        weights = self.config.weights
        compared = losses["loss"] - weights.realism * losses["realism"] - weights.secrecy * losses["secrecy"]
        named = {f"val/{name}": value for name, value in {**losses, "loss": compared}.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=1)

    def configure_optimizers(self) -> Any:
        fit = self.config.fit
        reader = {"params": [*self.net.reader.parameters()], "lr": READER_RATE * fit.max_learning_rate}
        groups: tuple[Any, ...] = (
            [*self.net.encoder.parameters(), *self.net.generator.parameters()],
            [{"params": [*self.discriminator.parameters()]}, reader],
        )
        make = partial(AdamW, lr=fit.max_learning_rate, betas=BETAS, weight_decay=fit.weight_decay, fused=True)
        optimizers = [make(group) for group in groups]
        schedules = [LambdaLR(optimizer, self._rate) for optimizer in optimizers]
        # The latent discriminator keeps a constant learning rate: it has to keep up with the encoder until the end.
        return [*optimizers, Adam(self.latent_discriminator.parameters(), lr=LATENT_RATE, fused=True)], schedules

    def _rate(self, step: int) -> float:
        """The learning rate factor: 1 for the first half, then decreasing linearly to 1/50."""
        fit = self.config.fit
        return max(0.02, min(1.0, 2 - 2 * step / (fit.epochs * fit.steps_per_epoch)))

    def _losses(
        self, images: Tensor, digits: Tensor, codes: Tensor, again: Tensor, swapped: Tensor, others: Tensor
    ) -> dict[str, Tensor]:
        """The losses of encoder and generator; `loss` is their weighted sum."""
        back = self.net.generator(self.net.encoder(swapped, others), digits)
        found = {
            "pixels": _pixel_loss(again, images) + _pixel_loss(back, images) / 2,
            "identity": F.cross_entropy(self.net.reader(swapped), others),
            "realism": F.softplus(-self.discriminator(swapped, others)).mean(),
            "style": F.mse_loss(self._z_scores(swapped, others), self._z_scores(images, digits)),
            "secrecy": -self.latent_discriminator(codes).log_softmax(dim=1).mean() - math.log(self.classes),
        }
        weights = self.config.weights.model_dump()
        return {"loss": torch.stack([weights[name] * value for name, value in found.items()]).sum(), **found}

    def _z_scores(self, images: Tensor, digits: Tensor) -> Tensor:
        """How far the handwriting is from the mean for its digit, in standard deviations."""
        mean, deviation = self.usual
        z_scores: Tensor = (handwriting(images) - mean[digits]) / deviation[digits]
        return z_scores

    def _critics_loss(self, images: Tensor, digits: Tensor, swapped: Tensor, others: Tensor, penalty: float) -> Tensor:
        """The loss of the critics: the discriminator and the reader."""
        real = images.detach().requires_grad_(penalty > 0)
        logits = self.discriminator(real, digits)
        loss = F.softplus(-logits).mean() + F.softplus(self.discriminator(swapped, others)).mean()
        if penalty:
            (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
            loss = loss + penalty * slope.square().sum(dim=(1, 2, 3)).mean()
        return loss + F.cross_entropy(self.net.reader(images), digits)

    def _latent_loss(self) -> Tensor:
        drawn = torch.randint(self.classes * REMEMBERED, (LATENT_BATCH,)).to(self.remembered.device)
        codes, digits = self.remembered.flatten(0, 1)[drawn], drawn // REMEMBERED
        return F.cross_entropy(self.latent_discriminator(codes), digits)

    def _remember(self, codes: Tensor, digits: Tensor) -> None:
        for digit in range(self.classes):
            kept = self.remembered[digit]
            self.remembered[digit] = torch.cat([codes[digits == digit], kept])[:REMEMBERED]


def _pixel_loss(drawn: Tensor, images: Tensor) -> Tensor:
    with torch.autocast(drawn.device.type, enabled=False):  # which refuses this loss
        return F.binary_cross_entropy(drawn, images)


def handwriting(images: Tensor) -> Tensor:
    """Differentiable slant and thickness, float32 `(n, 2)`, of images `(n, 1, 28, 28)` in [0, 1].

    Slant comes from the moments of the ink. Thickness is the mean brightness of the blurred ink, weighted by itself:
    the thicker a stroke, the less it fades. A measure that counts edges would reward dotted and frayed strokes.
    """
    ink = images.squeeze(1)
    place = torch.arange(ink.shape[1], dtype=ink.dtype, device=ink.device)
    total = ink.sum(dim=(1, 2)).clamp(min=1)
    across = place - (ink.sum(dim=1) @ place / total)[:, None]
    down = place - (ink.sum(dim=2) @ place / total)[:, None]
    mixed = torch.einsum("nij,ni,nj->n", ink, down, across) / total
    height = torch.einsum("nij,ni->n", ink, down**2) / total
    blurred = _blur(images)
    thickness = blurred.square().sum(dim=(1, 2, 3)) / blurred.sum(dim=(1, 2, 3)).clamp(min=1)
    return torch.stack([mixed / height.clamp(min=1), thickness], dim=1)


def _blur(images: Tensor) -> Tensor:
    """A Gaussian blur with a standard deviation of one pixel."""
    offsets = torch.arange(-BLUR_REACH, BLUR_REACH + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-offsets.square() / 2)
    weights = weights / weights.sum()
    rows = F.conv2d(images, weights.view(1, 1, -1, 1), padding=(BLUR_REACH, 0))
    return F.conv2d(rows, weights.view(1, 1, 1, -1), padding=(0, BLUR_REACH))


@torch.no_grad()
def usual_handwriting(images: Tensor, digits: Tensor, classes: int) -> Tensor:
    """Mean and standard deviation of `handwriting` for each digit, `(2, classes, 2)`, over images `(n, 1, 28, 28)`."""
    found = torch.cat([handwriting(part) for part in images.split(1000)])
    deviations_and_means = [torch.std_mean(found[digits == digit], dim=0) for digit in range(classes)]
    return torch.stack([torch.stack([mean, deviation]) for deviation, mean in deviations_and_means], dim=1)
