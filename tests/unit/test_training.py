"""Training on real images, small enough for a test: it learns, resumes exactly, selects by validation, and stops."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn import functional

from deepdigits.core.errors import Terminated, UserError
from deepdigits.data.digits.splits import Split, stratified_rows
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.classification.augmentation import augment
from deepdigits.tasks.classification.calibration import fit_temperature, logits_of, scaled_loss
from deepdigits.tasks.classification.config import Augmentation, Fit
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.classification.training import Classifier
from deepdigits.tasks.cnn import network as cnn
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.cnn.training import cnn_to_train
from deepdigits.tasks.gan.config import GanNet, GanStop, TrainGan
from deepdigits.tasks.gan.monitor import MONITOR, FoolRateStopping, ValidationMeasures
from deepdigits.tasks.gan.network import Discriminator, Generator, class_noise, generate
from deepdigits.tasks.gan.training import FOOL_RATE, ConditionalGan, generator_slope
from deepdigits.tasks.rnn import network as rnn
from deepdigits.tasks.rnn.config import RnnNet
from deepdigits.tasks.rnn.training import rnn_to_train
from deepdigits.training.data_module import InMemoryData
from deepdigits.training.fitting import fit_to_loss
from deepdigits.training.trainer import Fitted, _readable, fit, work_dir
from deepdigits.training.weights import part_of, save_network

CNN = CnnNet(widths=(8, 8, 8, 16, 16))
RNN = RnnNet(cell="gru", hidden=16, layers=2, bidirectional=True, dropout=0.2)
FIT = Fit(
    epochs=3,
    steps_per_epoch=15,
    batch_size=64,
    max_learning_rate=0.02,
    weight_decay=0.0005,
    label_smoothing=0.05,
    gradient_clip=1.0,
    seed=5,
    augmentation=Augmentation(
        rotate_degrees=10.0, translate_pixels=1.0, scale_fraction=0.1, shear_degrees=5.0, textured_fraction=0.3
    ),
)
GAN_NET = GanNet(noise_dim=8, generator_widths=(8, 8), discriminator_widths=(8, 8, 8, 16))
GAN = TrainGan(
    net=GAN_NET,
    stop=GanStop(fool_rate=0.9, diversity=0.9),
    max_epochs=3,
    steps_per_epoch=10,
    batch_size=32,
    learning_rate=0.001,
    r1_gamma=1.0,
    r1_every=4,
    ema_decay=0.99,
    samples_per_class=10,
    seed=6,
)


class Uninterrupted(NamedTuple):
    """An uninterrupted training, and the folder of its checkpoints."""

    fitted: Fitted
    folder: Path


class KilledError(Exception):
    """Stands in for kill -9: no code of ours runs after it."""


class KillAt(Callback):
    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.step -= 1
        if self.step == 0:
            raise KilledError


@pytest.fixture(scope="module")
def splits(digits_train: Split) -> tuple[Split, Split]:
    rest, chosen = stratified_rows(digits_train.labels, 200, 0)
    return digits_train.take(rest), digits_train.take(chosen)


def train_classifier(
    module: Classifier, splits: tuple[Split, Split], directory: Path, *extra: Callback, config: Fit = FIT
) -> Fitted:
    train, validation = (split.pairs for split in splits)
    distort = partial(augment, config=config.augmentation)
    return fit_to_loss(module, train, validation, config, directory, lambda *_: None, extra, augment=distort)


def train_gan(splits: tuple[Split, Split], directory: Path, *extra: Callback) -> Fitted:
    torch.manual_seed(GAN.seed)
    train, validation = splits
    measures = ValidationMeasures(train, validation, 10, GAN_NET, 1, directory / "grids")
    return fit(
        ConditionalGan(GAN),
        InMemoryData((train.images, train.labels), None, batch_size=32, steps_per_epoch=10, seed=GAN.seed),
        epochs=GAN.max_epochs,
        seed=GAN.seed,
        monitor=MONITOR,
        mode="min",
        checkpoint_dir=directory,
        on_epoch=lambda *_: None,
        callbacks=[measures, *extra],
    )


def build(kind: str, config: Fit = FIT) -> Classifier:
    torch.manual_seed(config.seed)
    return cnn_to_train(CNN, config) if kind == "cnn" else rnn_to_train(RNN, config)


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def uninterrupted(
    splits: tuple[Split, Split], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Uninterrupted]:
    """An uninterrupted training of each kind, run once for all tests here."""

    @cache
    def train(kind: str) -> Uninterrupted:
        folder = tmp_path_factory.mktemp(kind)
        fitted = train_gan(splits, folder) if kind == "gan" else train_classifier(build(kind), splits, folder)
        return Uninterrupted(fitted, folder)

    return train


@pytest.mark.parametrize(("kind", "rate"), [("cnn", 0.05), ("rnn", 0.02)])
def test_a_classifier_learns_and_its_file_scores_as_training_reported(
    kind: str, rate: float, splits: tuple[Split, Split], tmp_path: Path
) -> None:
    config = FIT.model_copy(update={"max_learning_rate": rate})
    fitted = train_classifier(build(kind, config), splits, tmp_path / "checkpoints", config=config)
    best = fitted.history[fitted.best_epoch]
    assert best["val/loss"] == min(row["val/loss"] for row in fitted.history)
    assert best["val/accuracy"] > 0.5  # chance is 0.1
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3]
    assert set(best) == {"epoch", "train/accuracy", "train/loss", "val/accuracy", "val/loss"}

    path = tmp_path / "model.safetensors"
    save_network(kind, CNN if kind == "cnn" else RNN, part_of(fitted.state, "net."), path)
    answers = probabilities(TASKS[kind].load(path), splits[1].images)
    assert (answers.argmax(1) == splits[1].labels).mean() == pytest.approx(best["val/accuracy"])
    logits = logits_of(TASKS[kind].load(path), splits[1].images)
    temperature = fit_temperature(logits, splits[1].labels)
    assert best["val/loss"] == pytest.approx(scaled_loss(logits, splits[1].labels, temperature), abs=1e-5)


@pytest.mark.parametrize("step", [1, 20, 44])
@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_a_killed_classifier_resumes_to_the_same_weights(
    kind: str, step: int, uninterrupted: Callable[[str], Uninterrupted], splits: tuple[Split, Split], tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        train_classifier(build(kind), splits, tmp_path, KillAt(step))
    torch.manual_seed(999)  # whatever the new process has drawn in the meantime
    module = build(kind)
    resumed = train_classifier(module, splits, tmp_path)
    fitted = uninterrupted(kind).fitted
    assert equal(fitted.state, resumed.state)
    assert fitted.history == resumed.history
    assert fitted.best_epoch == resumed.best_epoch


@pytest.mark.parametrize("step", [15, 25])
def test_a_killed_gan_resumes_to_the_same_weights(
    step: int, uninterrupted: Callable[[str], Uninterrupted], splits: tuple[Split, Split], tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        train_gan(splits, tmp_path, KillAt(step))
    resumed = train_gan(splits, tmp_path)
    fitted, folder = uninterrupted("gan")
    assert equal(fitted.state, resumed.state)
    assert fitted.history == resumed.history
    grids = sorted(path.name for path in (tmp_path / "grids").iterdir())
    assert grids == ["epoch_001.png", "epoch_002.png", "epoch_003.png"]
    for name in grids:
        assert (tmp_path / "grids" / name).read_bytes() == (folder / "grids" / name).read_bytes()


def test_a_damaged_checkpoint_is_set_aside(
    uninterrupted: Callable[[str], Uninterrupted], splits: tuple[Split, Split], tmp_path: Path, capsys: Any
) -> None:
    fitted = uninterrupted("cnn").fitted
    with pytest.raises(KilledError):
        train_classifier(build("cnn"), splits, tmp_path / "killed", KillAt(40))
    last = tmp_path / "killed/last.ckpt"
    whole = last.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"cos\nsystem\n(S'touch " + bytes(tmp_path) + b"/run'\ntR."):
        last.parent.mkdir(exist_ok=True)
        last.write_bytes(damaged)
        again = train_classifier(build("cnn"), splits, tmp_path / "killed")
        assert equal(fitted.state, again.state)
        assert "cannot be read" in capsys.readouterr().out
    assert not (tmp_path / "run").exists(), "a checkpoint must not be able to execute code"


@pytest.mark.parametrize(
    ("where", "what", "error"),
    [(Path, "read_bytes", OSError(5, "Input/output error")), (torch, "load", Terminated())],
)
def test_a_checkpoint_survives_a_disk_error_and_a_stop_request(
    where: Any, what: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tmp_path / "last.ckpt"
    last.write_bytes(b"whole")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(where, what, fail)
    with pytest.raises(type(error)):
        _readable(last)
    assert last.exists()


def test_other_load_on_the_machine_does_not_change_the_weights(
    uninterrupted: Callable[[str], Uninterrupted], splits: tuple[Split, Split], tmp_path: Path
) -> None:
    fitted = uninterrupted("cnn").fitted
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        under_load = train_classifier(build("cnn"), splits, tmp_path)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert equal(fitted.state, under_load.state)


def test_the_generator_slope_is_the_gradient_of_its_own_loss() -> None:
    torch.manual_seed(1)
    discriminator, digits = Discriminator(GAN_NET), torch.arange(8)
    shown = torch.rand(8, 1, 28, 28, requires_grad=True)
    (direct,) = torch.autograd.grad(functional.softplus(-discriminator(shown, digits)).mean(), shown)
    logits = discriminator(shown, digits)
    functional.softplus(logits).mean().backward()
    assert torch.allclose(generator_slope(shown, logits.detach()), direct, rtol=1e-4, atol=1e-9)


def test_gan_training_moves_towards_the_real_images(uninterrupted: Callable[[str], Uninterrupted]) -> None:
    fitted = uninterrupted("gan").fitted
    assert fitted.history[-1][MONITOR] < fitted.history[0][MONITOR]
    assert fitted.history[fitted.best_epoch][MONITOR] == min(row[MONITOR] for row in fitted.history)
    kept = Generator(GAN_NET)
    kept.load_state_dict(part_of(fitted.state, "averaged.module."))
    images = generate(kept, *class_noise(3, GAN_NET, 0))
    assert images.shape == (30, 28, 28)
    assert images.dtype == np.uint8


def test_the_error_for_diverging_training_says_which_figure_and_what_to_do(
    splits: tuple[Split, Split], tmp_path: Path
) -> None:
    module = build("cnn")
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match=r"epoch 1: train/loss, val/loss is not finite. Lower this stage's"):
        train_classifier(module, splits, tmp_path)


def test_checkpoints_of_other_parameters_are_never_resumed(tmp_path: Path) -> None:
    old = work_dir(tmp_path, "train_cnn", "a" * 64)
    (old / "last.ckpt").touch()
    other = work_dir(tmp_path, "train_rnn", "a" * 64)
    new = work_dir(tmp_path, "train_cnn", "b" * 64)
    assert list(new.iterdir()) == []
    assert not old.exists()
    assert other.exists()


@pytest.mark.parametrize(
    ("epochs", "stops"),
    [
        ([(0.85, 0.95), (0.95, 0.95)], True),
        ([(0.95, 0.85), (0.85, 0.95)], False),
        ([(1.0, 0.01), (1.0, 0.01), (1.0, 0.01)], False),
        ([(0.5, 1.0)] * 5, False),
    ],
    ids=["both hold", "one after the other", "collapsed within each class", "never fools"],
)
def test_the_stopping_rule_needs_both_measures_in_one_epoch(epochs: list[tuple[float, float]], stops: bool) -> None:
    rule = FoolRateStopping(GanStop(fool_rate=0.9, diversity=0.9))
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    for fooled, diverse in epochs:
        trainer.callback_metrics.update({FOOL_RATE: torch.tensor(fooled), "val/diversity_min": torch.tensor(diverse)})
        rule.on_train_epoch_end(trainer, ConditionalGan(GAN))
    assert trainer.should_stop == stops
    assert rule.reason == ("fool_rate" if stops else "max_epochs")


def test_the_stopping_rule_ends_a_training_by_the_mean_over_an_epochs_steps(
    splits: tuple[Split, Split], tmp_path: Path
) -> None:
    rates = [epoch[FOOL_RATE] for epoch in train_gan(splits, tmp_path / "all").history]
    most = max(rates)
    assert len(rates) == GAN.max_epochs
    assert 0 < most < 1
    assert rates.index(most) < GAN.max_epochs - 1
    rule = FoolRateStopping(GanStop(fool_rate=most - 0.001, diversity=0.0))
    stopped = train_gan(splits, tmp_path / "stopped", rule)
    assert len(stopped.history) == rates.index(most) + 1
    assert rule.reason == "fool_rate"
    restored = FoolRateStopping(rule.config)
    restored.load_state_dict(rule.state_dict())
    assert restored.reason == rule.reason


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_the_rnn_is_built_as_the_params_specify(cell: Any, layers: int, bidirectional: bool) -> None:
    network = rnn.RowRnn(RnnNet(cell=cell, hidden=12, layers=layers, bidirectional=bidirectional, dropout=0.0))
    assert type(network.recurrences[0]) is rnn.CELLS[cell]
    assert len(network.recurrences) == layers
    assert network(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_the_rnn_reads_rows_in_order() -> None:
    network = rnn.RowRnn(RNN).eval()
    image = torch.rand(1, 1, 28, 28)
    assert not torch.allclose(network(image), network(image.flip(2)))


def test_the_default_cnn_has_the_stated_size_and_shapes() -> None:
    network = cnn.Cnn(CnnNet(widths=(16, 32, 32, 64, 64))).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) < 150_000
    images = torch.rand(2, 1, 28, 28)
    assert network(images).shape == (2, 10)
    assert torch.allclose(network.head(network.features(images)), network(images))


def test_the_discriminators_answer_depends_on_the_digit() -> None:
    torch.manual_seed(0)
    network = Discriminator(GAN_NET)
    image = torch.rand(1, 1, 28, 28).expand(2, -1, -1, -1)
    one, two = network(image, torch.tensor([1, 2]))
    assert one != two


def test_a_damaged_or_foreign_model_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_network("cnn", CNN, cnn.Cnn(CNN).state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(UserError, match="cannot be loaded"):
        TASKS["cnn"].load(path)
    path.write_bytes(whole)
    save_network("cnn", CNN.model_copy(update={"widths": (4, 4, 4, 4, 4)}), {}, tmp_path / "other.safetensors")
    (tmp_path / "other.json").rename(tmp_path / "model.json")
    with pytest.raises(UserError, match="cannot be loaded"):
        TASKS["cnn"].load(path)
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        TASKS["cnn"].load(path)
