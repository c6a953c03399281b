"""Sweeps: what may be varied, what a trial sees, and what is kept of it. The real trials are in tests/pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepdigits.core.errors import UserError
from deepdigits.core.loading import check, overlay, read_yaml
from deepdigits.release.params import Params
from deepdigits.sweeps.folder import prepare_trial, snapshot
from deepdigits.sweeps.outcome import profile_text, refuse_taken_profile, table
from deepdigits.sweeps.space import SPACES, Choice, Range, Space, nested, read_space
from deepdigits.sweeps.sweep import Plan, open_study, shown
from tests.conftest import ROOT

RATE, WIDTHS = "train_cnn.fit.max_learning_rate", "train_cnn.net.widths"
SPACE = Space(
    objective="val/loss",
    direction="minimize",
    space={
        RATE: Range(low=0.01, high=0.1, log=True),
        WIDTHS: Choice(choices=([8, 8, 8, 8, 8], [16, 16, 16, 16, 16])),
        "train_cnn.fit.epochs": Range(low=1, high=3),
    },
)


@pytest.mark.parametrize("path", sorted((ROOT / SPACES).glob("*.yaml")), ids=lambda path: path.stem)
def test_every_space_that_ships_fits_the_params(path: Path) -> None:
    stage = f"train_{path.stem}"
    space = read_space(path, stage, ROOT)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        changed = overlay(read_yaml(ROOT / "params.yaml"), space.suggest(study.ask()))
        assert check(changed, Params, "params.yaml")


HEAD = "objective: val/loss\ndirection: minimize\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "space: {train_cnn.fit.max_learning_rates: {low: 1, high: 2}}",
         "params.yaml has no key train_cnn.fit.max_learning_rates"),
        (HEAD + "space: {train_rnn.fit.seed: {low: 1, high: 2}}",
         "train_cnn does not read train_rnn.fit.seed"),
        (HEAD + "space: {train_cnn.fit.max_learning_rate: {low: 1.0, high: 99.0}}",
         "less than or equal to 10"),
        (HEAD + "space: {train_cnn.fit.epochs: {low: 1.5, high: 3}}", "integer"),
        (HEAD + "space: {train_cnn.fit.epochs: {low: 3, high: 1}}", "must be below"),
        (HEAD + "space: {train_cnn.fit.seed: {low: 0, high: 1, log: true}}", "log needs"),
        (HEAD + "space: {}", "at least 1 item"),
        (HEAD.replace("val/loss", "test/loss") + "space: {train_cnn.fit.epochs: {low: 1, high: 2}}", "objective"),
        (HEAD.replace("minimize", "down") + "space: {train_cnn.fit.epochs: {low: 1, high: 2}}", "direction"),
    ],
)  # fmt: skip
def test_a_wrong_space_is_refused_before_anything_is_trained(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_space(path, "train_cnn", ROOT)


def test_the_error_for_a_missing_space_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"profiles/sweeps/cnn.yaml"):
        read_space(tmp_path / "none.yaml", "train_cnn", ROOT)


keys = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)


@given(st.dictionaries(keys.map(lambda parts: ".".join(["x", *parts, "end"])), st.integers(), max_size=5))
def test_nested_keys_are_found_again(flat: dict[str, int]) -> None:
    nest: Any = nested(flat)
    for key, value in flat.items():
        found = nest
        for part in key.split("."):
            found = found[part]
        assert found == value


@pytest.mark.parametrize("stage", ["train_cnn", "train_rnn", "train_gan", "train_swap", "train_detector"])
def test_a_trial_sees_no_test_data(stage: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("src", "pipelines"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, root / name)
    for folder in ("data/processed", "data/scenes"):
        (root / folder).mkdir(parents=True)
        for split in ("train", "validation", "test", "stress"):
            (root / folder / f"{split}.npz").write_text(split)
    snapshot(root, root / "build/code")
    trial = root / "build/trial"
    prepare_trial(root, root / "build/code", trial, stage, nested({"compute.threads": 1}))
    seen = list(trial.glob("data/*/*"))
    assert {path.stem for path in seen if path.suffix == ".npz"} == {"train", "validation"}
    assert read_yaml(trial / "params.yaml")["compute"]["threads"] == 1
    (root / "src/deepdigits/core/files.py").write_text("# AFTER THE SWEEP BEGAN")
    assert "AFTER THE SWEEP" not in (trial / "src/deepdigits/core/files.py").read_text()


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    """A study with a trained, a stopped and a failed trial."""
    monkeypatch.chdir(tmp_path)
    Path("build/sweeps/quick").mkdir(parents=True)
    study = open_study(Plan("quick", "train_cnn", SPACE, 3, 1))
    for value, state in ((0.5, optuna.trial.TrialState.COMPLETE), (None, optuna.trial.TrialState.PRUNED),
                         (None, optuna.trial.TrialState.FAIL)):  # fmt: skip
        trial = study.ask()
        trial.set_user_attr("changes", SPACE.suggest(trial))
        study.tell(trial.number, value, state)
    return study


def test_the_winner_is_a_valid_profile(study: optuna.Study, tmp_path: Path) -> None:
    plan = Plan("quick", "train_cnn", SPACE, 3, 1)
    path = tmp_path / "winner.yaml"
    path.write_text(profile_text(plan, study))
    changes = read_yaml(path)
    assert changes["profile"] == "quick"
    assert changes["train_cnn"] == study.best_trial.user_attrs["changes"]["train_cnn"]
    assert check(overlay(read_yaml(ROOT / "params.yaml"), changes), Params, "params.yaml")


def test_a_profile_that_a_person_wrote_is_not_overwritten(study: optuna.Study) -> None:
    Path("profiles").mkdir()
    Path("profiles/mine.yaml").write_text("profile: mine\n")
    with pytest.raises(UserError, match="no sweep wrote it"):
        refuse_taken_profile("mine")
    Path("profiles/quick.yaml").write_text(profile_text(Plan("quick", "train_cnn", SPACE, 3, 1), study))
    refuse_taken_profile("quick")
    refuse_taken_profile("new")


def test_a_folder_of_another_sweep_is_refused(study: optuna.Study) -> None:
    again = open_study(Plan("quick", "train_cnn", SPACE, 5, 2))
    assert len(again.trials) == 3
    with pytest.raises(UserError, match="belongs to a sweep of another stage"):
        open_study(Plan("quick", "train_rnn", SPACE, 3, 1))


def test_the_table_shows_the_best_first_and_how_the_others_ended(study: optuna.Study) -> None:
    found = table(study, SPACE)
    assert list(found.columns[0].cells) == ["0", "1", "2"]
    assert list(found.columns[4].cells) == ["trained", "stopped early", "failed"]
    assert "widths [" in shown(study.trials[0].params, SPACE)
