"""Judging a generator by networks trained on what it draws; here the generator copies real images."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from deepdigits.core.loading import read_params
from deepdigits.core.statistics import auc
from deepdigits.data.digits.splits import Split
from deepdigits.release.params import Params
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.config import FreshDiscriminator
from deepdigits.tasks.gan.config import GanNet
from deepdigits.tasks.gan.fresh import fresh_discriminator
from deepdigits.tasks.gan.metrics import fool_rate, nearest_distances
from deepdigits.tasks.gan.network import Generator, draw_images, scores
from deepdigits.tasks.gan.synthesis import Ensemble, classifier_of_generated
from tests.conftest import ROOT

NET = GanNet(noise_dim=4, generator_widths=(4, 4), discriminator_widths=(8, 16, 16, 32))
JUDGE = FreshDiscriminator(steps=60, batch_size=64, learning_rate=0.001)


class Copying(Generator):
    """Returns a real image of the digit, picked by the first number of the noise."""

    def __init__(self, source: Split):
        super().__init__(NET)
        self.source = source

    def forward(self, noise: Tensor, digits: Tensor) -> Tensor:
        picked = []
        for number, digit in zip(noise[:, 0].tolist(), digits.tolist(), strict=True):
            rows = np.flatnonzero(self.source.labels == digit)
            picked.append(self.source.images[rows[int(abs(number) * 1e4) % len(rows)]])
        return torch.from_numpy(np.stack(picked)).unsqueeze(1).float() / 255


def test_a_classifier_trained_on_good_samples_reads_real_digits(digits: tuple[Split, Split]) -> None:
    train, test = digits
    shipped = read_params(Params, ROOT / "params.yaml").evaluate.synthetic
    fit = shipped.fit.model_copy(update={"epochs": 2, "steps_per_epoch": 40, "batch_size": 64})
    config = shipped.model_copy(
        update={"networks": 2, "images": 1200, "net": CnnNet(widths=(8, 8, 16, 16, 32)), "fit": fit}
    )
    network = classifier_of_generated(partial(draw_images, Copying(train)), config, 10)
    assert (probabilities(network, test.images).argmax(axis=1) == test.labels).mean() > 0.8


def test_an_ensemble_answers_with_the_mean_of_the_probabilities() -> None:
    torch.manual_seed(0)
    networks = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)) for _ in range(3)]
    images = torch.rand(5, 1, 28, 28)
    mean = sum(network(images).softmax(dim=1) for network in networks) / 3
    assert torch.allclose(Ensemble(networks)(images).softmax(dim=1), mean, atol=1e-6)


def test_a_fresh_discriminator_tells_noise_from_digits_and_is_fooled_by_copies(digits: tuple[Split, Split]) -> None:
    train, test = digits
    torch.manual_seed(0)
    untrained = Generator(NET)
    for generator, rate, area in (
        (untrained, pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02)),
        (Copying(train), pytest.approx(0.5, abs=0.15), pytest.approx(0.5, abs=0.15)),
    ):

        def draw(labels: Tensor, random: torch.Generator, generator: torch.nn.Module = generator) -> Tensor:
            drawn: Tensor = generator(torch.randn(len(labels), NET.noise_dim, generator=random), labels)
            return drawn

        judge = fresh_discriminator(NET, draw, train, JUDGE, seed=1)
        fake = draw_images(generator, test.labels, seed=2)
        real_scores, fake_scores = scores(judge, test.images, test.labels), scores(judge, fake, test.labels)
        assert fool_rate(real_scores, fake_scores) == rate
        assert auc(fake_scores, real_scores) == area


def test_drawing_depends_only_on_the_seed(digits: tuple[Split, Split]) -> None:
    generator = Generator(NET)
    one, two, other = (draw_images(generator, np.arange(10), seed) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_nearest_distances_match_a_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    images, reference = (rng.integers(0, 256, (count, 28, 28)).astype(np.uint8) for count in (600, 50))
    images[7] = reference[3]
    pairs = ((images[:, None].astype(float) - reference[None]) ** 2).sum(axis=(2, 3)) ** 0.5 / 255
    assert np.allclose(nearest_distances(images, reference), pairs.min(axis=1), atol=1e-2)
    assert nearest_distances(images[7:8], reference)[0] == pytest.approx(0, abs=1e-2)
