"""Compares coverage and Frechet distance after equal wall time: our GAN, a fully connected one and a plain DCGAN."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from datetime import timedelta

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from benchmarks.common import Row, record, split
from deepdigits.core import paths
from deepdigits.core.compute import use_threads
from deepdigits.core.loading import read_params
from deepdigits.data.digits.splits import Split
from deepdigits.ops.exit import exits_cleanly
from deepdigits.release.params import Params
from deepdigits.tasks.cnn.network import features, load_cnn
from deepdigits.tasks.gan.metrics import frechet_distance, manifold_metrics
from deepdigits.tasks.gan.training import ConditionalGan
from deepdigits.training.batches import ShuffledBatches, epoch_generator

SECONDS, SAMPLES = 75, 5000
Sampler = Callable[[int], Tensor]  # how many -> images float (n, 1, 28, 28) in 0 to 1


@exits_cleanly
def main() -> None:
    params = read_params(Params)
    use_threads(params.compute.threads)
    train, test = split("train"), split("test")
    cnn = load_cnn(paths.MODELS / "cnn" / "model.safetensors")
    real = features(cnn, test.images[:SAMPLES])
    found = {}
    for name, train_for in (("ours", ours), ("fully connected", fully_connected), ("DCGAN", dcgan)):
        torch.manual_seed(0)
        sample = train_for(params, train)
        with torch.inference_mode():
            images = (sample(SAMPLES).squeeze(1) * 255).round().to(torch.uint8).numpy()
        fake = features(cnn, images)
        found[name] = manifold_metrics(real, fake, params.evaluate.neighbours).coverage, frechet_distance(real, fake)
    rows = []
    for peer in ("fully connected", "DCGAN"):
        for index, (measure, better) in enumerate((("coverage", 1), ("FID in CNN features", -1))):
            a, b = found["ours"][index], found[peer][index]
            rows.append(
                Row(
                    f"GAN, {measure} after {SECONDS} s of training",
                    f"{a:.3f}",
                    f"{b:.3f} ({peer})",
                    f"{a / b if better > 0 else b / a:.1f}x better",
                    "better",
                    better * a > better * b,
                )
            )
    record("gan", rows)


def batches(train: Split, size: int) -> ShuffledBatches:
    """More batches than can be used in the time."""
    return ShuffledBatches(
        torch.from_numpy(train.images), torch.from_numpy(train.labels), size, 100_000, epoch_generator(0, 0)
    )


def ours(params: Params, train: Split) -> Sampler:
    """The shipped GAN, through Lightning."""
    gan = ConditionalGan(params.train_gan)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_time=timedelta(seconds=SECONDS),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(gan, batches(train, params.train_gan.batch_size))
    generator = gan.averaged.eval()

    net = params.train_gan.net

    def sample(count: int) -> Tensor:
        images: Tensor = generator(torch.randn(count, net.noise_dim), torch.arange(count) % net.classes)
        return images

    return sample


def fully_connected(params: Params, train: Split) -> Sampler:
    """Dense layers, batch norm in the generator, cross-entropy, Adam (0.5, 0.999) at 2e-4, batch 256: the kind of GAN
    that tutorials show."""

    def block(wide: int, out: int, norm: bool = True) -> list[nn.Module]:
        return [nn.Linear(wide, out), *([nn.BatchNorm1d(out, 0.8)] if norm else []), nn.LeakyReLU(0.2)]

    generator = nn.Sequential(
        *block(100, 128, norm=False), *block(128, 256), *block(256, 512), *block(512, 1024),
        nn.Linear(1024, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)
    )
    return adversarial(generator, discriminator, train, noise_shape=(100,), size=256)


def dcgan(params: Params, train: Split) -> Sampler:
    """Strided convolutions with batch norm in both networks, cross-entropy, Adam (0.5, 0.999) at 2e-4, batch 128
    (Radford et al., 2016, arXiv:1511.06434)."""
    generator = nn.Sequential(
        nn.ConvTranspose2d(100, 128, 7, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(1, 64, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2), nn.Conv2d(128, 1, 7),
    )  # fmt: skip
    return adversarial(generator, discriminator, train, noise_shape=(100, 1, 1), size=128)


def adversarial(
    generator: nn.Module, discriminator: nn.Module, train: Split, noise_shape: tuple[int, ...], size: int
) -> Sampler:
    """The textbook loop: images from -1 to 1, and one step of each network in turn."""
    step_g, step_d = (Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, discriminator))
    ones, zeros = torch.ones(size), torch.zeros(size)
    end = time.perf_counter() + SECONDS
    for real, _labels in batches(train, size):
        fake = generator(torch.randn(size, *noise_shape))
        step_g.zero_grad()
        F.binary_cross_entropy_with_logits(discriminator(fake).flatten(), ones).backward()
        step_g.step()
        step_d.zero_grad()
        loss = F.binary_cross_entropy_with_logits(discriminator(2 * real - 1).flatten(), ones)
        (loss + F.binary_cross_entropy_with_logits(discriminator(fake.detach()).flatten(), zeros)).backward()
        step_d.step()
        if time.perf_counter() > end:
            break
    generator.eval()

    def sample(count: int) -> Tensor:
        images: Tensor = (generator(torch.randn(count, *noise_shape)) + 1) / 2
        return images

    return sample


if __name__ == "__main__":
    main()
