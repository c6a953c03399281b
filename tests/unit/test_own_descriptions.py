"""Descriptions of own data: the commands that draft and check them, and what the pipeline makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deepdigits.cli.app import commands
from deepdigits.core.errors import UserError
from deepdigits.core.loading import check, parse_yaml
from deepdigits.data.described import Kind
from deepdigits.data.own.decoding import Ink
from deepdigits.data.own.labelled import bright
from deepdigits.data.own.preparing import input_of
from deepdigits.data.own.preparing import prepare as prepare_file
from deepdigits.data.own.reading import read_source
from deepdigits.data.own.splitting import rows_of
from deepdigits.data.validation.expectations import ROW_NAMES, expectations
from deepdigits.data.validation.expectations import check as expect
from deepdigits.data.validation.frame import class_frame, image_frame, split_frame
from deepdigits.data.validation.neighbours import label_disagreement
from deepdigits.release.datasets import read_dataset
from deepdigits.release.generated import generated
from deepdigits.release.params import Params
from deepdigits.release.workspace import prepare
from tests.conftest import ROOT
from tests.unit.own_sources import GREY, encoded, pictures, save, tone, wav


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with datasets/shapes.yaml, as `dataset add` drafts it."""
    save(tmp_path, pictures(*(f"pictures/{name}/s{n % 3}_{n}.png" for name in ("a", "b") for n in range(30))))
    monkeypatch.chdir(tmp_path)
    done = run("add", "shapes", "--from", "pictures", "--group", "speaker")
    assert done.exit_code == 0, done.output
    for name in ("params.yaml", "profiles", "datasets/mnist.yaml", "datasets/digits.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(commands, ["dataset", *arguments])


def test_a_draft_is_valid_and_its_data_are_in_its_bands(described: Path) -> None:
    files = generated(described, "default", "shapes")
    params = check(parse_yaml(files["params.yaml"], "x"), Params, "x")
    assert params.dataset == "shapes"
    own = read_dataset(described, "shapes")
    assert own.where.path
    assert (own.classes, own.split.group, own.ink) == (("a", "b"), "speaker", "bright")
    assert Path(own.where.path) == described / "pictures"
    assert sum(own.images.model_dump().values()) == 60
    data = read_source(described / "pictures", "pictures", "bright", "speaker")
    rows = rows_of(data, own.split)
    assert {name: len(part) for name, part in rows.items()} == own.images.model_dump()
    frames = {"images": image_frame(parts := {name: data.take(part) for name, part in rows.items()})}
    frames["classes"] = class_frame(parts, 2)
    frames["splits"] = split_frame(frames["images"], own.images.model_dump(), label_disagreement(parts))
    suites = expectations(own.bands, 0.001, own.classes)
    assert [outcome.name for outcome in expect(frames, suites, ROW_NAMES, 3).failed] == []


def test_changes_to_params_and_floors_are_applied_and_checked(described: Path) -> None:
    path = described / "datasets/shapes.yaml"
    drafted = path.read_text()
    assert "steps_per_epoch: 20" in drafted  # since there are few images
    text = drafted[: drafted.index("params:")]
    changes = "params: {train_rnn: {net: {reads: columns}}, train_cnn: {fit: {balance: loss}}}"
    path.write_text(text.replace("floors: {}", "floors: {cnn: {min_roc_auc: 0.8}}") + changes)
    params = check(parse_yaml(generated(described, "default", "shapes")["params.yaml"], "x"), Params, "x")
    assert read_dataset(described, "shapes").floors.cnn.min_roc_auc == 0.8
    assert (params.train_rnn.net.reads, params.train_cnn.fit.balance) == ("columns", "loss")
    for wrong, message in (
        ("params: {train_cnn: {fit: {epoch: 3}}}", "epoch: unknown key"),
        ("params: {dataset: mnist}", "cannot change dataset"),
        ("params: {}\nflors: {}", "flors: unknown key; did you mean floors"),
    ):
        path.write_text(text + wrong)
        with pytest.raises(UserError, match=message):
            generated(described, "default", "shapes")


def test_scenes_are_made_only_of_data_that_are_declared_to_be_glyphs(described: Path) -> None:
    with pytest.raises(UserError, match=r"shapes\.yaml does not say glyphs: true"):
        prepare(described, described / "build/shapes", "default", "shapes", glyphs=True)
    assert not (described / "build").exists()


def test_check_says_what_has_changed(described: Path) -> None:
    assert run("check", "shapes").exit_code == 0
    data = pictures("x")["x"]
    (described / "pictures/a/s1_99.png").write_bytes(encoded(Image.fromarray(GREY)))
    (described / "pictures/c").mkdir()
    (described / "pictures/c/s1_98.png").write_bytes(data[:-1] + b"x")
    done = run("check", "shapes")
    assert isinstance(done.exception, UserError)
    assert "there are 3 classes, described are 2" in str(done.exception)
    assert "the content has changed" in str(done.exception)


@pytest.mark.parametrize(("kind", "ink"), [("pictures", "bright"), ("pictures", "dark"), ("recordings", "bright")])
def test_one_file_is_prepared_as_the_data_set_was(kind: Kind, ink: Ink, tmp_path: Path) -> None:
    """The server prepares single files; `ingest` prepares whole sources."""
    if kind == "recordings":
        files = {f"{name}/{n}.wav": wav(tone(300 + 40 * n)) for name in "ab" for n in range(3)}
    else:
        picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 4), np.uint8), "RGBA")
        files = {f"{name}/{n}.png": encoded(picture.rotate(n)) for name in "ab" for n in range(3)}
    save(tmp_path, files)
    data = read_source(tmp_path, kind, ink)
    rows = np.arange(len(data))
    expected = dict(zip(data.names, bright(data.take(rows), ink).images, strict=True))
    for name, content in files.items():
        assert (prepare_file(content, input_of(kind, ink)) == expected[name]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "shapes", "--from", "pictures"], "shapes.yaml exists"),
        (["add", "mnist", "--from", "pictures"], "mnist.yaml exists"),
        (["add", "My Set", "--from", "pictures"], "cannot be the name"),
        (["add", "other", "--from", "missing"], "does not exist|neither"),
        (["add", "other", "--from", "pictures", "--kind", "video"], "--kind is idx"),
        (["add", "other", "--from", "pictures", "--kind", "npz"], "is not a NumPy archive|is a directory"),
        (["add", "other", "--from", "datasets"], "has neither IDX files"),
        (["check", "other"], "deepdigits dataset add other --from PATH"),
    ],
)
def test_wrong_arguments_write_nothing(arguments: list[str], message: str, described: Path) -> None:
    before = [path.name for path in (described / "datasets").iterdir()]
    done = run(*arguments)
    assert done.exit_code != 0
    with pytest.raises(UserError, match=message):
        raise done.exception
    assert [path.name for path in (described / "datasets").iterdir()] == before


def test_duplicates_are_refused_until_they_are_left_out(described: Path) -> None:
    twice = (described / "pictures/a/s0_0.png").read_bytes()
    (described / "pictures/b/s0_77.png").write_bytes(twice)
    done = run("add", "other", "--from", "pictures")
    assert isinstance(done.exception, UserError)
    assert "1 image appears with different labels: a/s0_0.png and b/s0_77.png" in str(done.exception)
    assert run("add", "other", "--from", "pictures", "--without", "b/s0_77.png").exit_code == 0
    assert "without: [b/s0_77.png]" in (described / "datasets/other.yaml").read_text()
    done = run("add", "third", "--from", "pictures", "--without", "b/none.png")
    assert "has no image 'b/none.png' to leave out" in str(done.exception)
