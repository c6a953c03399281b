import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdigits.core.errors import UserError
from deepdigits.core.loading import check, overlay, parse_yaml, read_params, read_yaml
from deepdigits.release.datasets import Dataset, read_dataset
from deepdigits.release.generated import generated
from deepdigits.release.params import Params
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.contract import Task

ROOT = Path(__file__).parents[2]
SHIPPED = read_yaml(ROOT / "params.yaml")
S4D = {**SHIPPED["train_rnn"]["net"], "cell": "s4d", "bidirectional": False}


def changed(key: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(SHIPPED)
    *parents, last = key.split(".")
    node = data
    for part in parents:
        node = node[part]
    node[last] = value
    return data


def leaves(nest: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in nest.items():
        keys += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


def test_shipped_params_load() -> None:
    assert read_params(Params, ROOT / "params.yaml").profile == "default"


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_loads_and_names_itself(path: Path, tmp_path: Path) -> None:
    merged = tmp_path / "params.yaml"
    merged.write_text(generated(ROOT, path.stem)["params.yaml"])
    assert read_params(Params, merged).profile == path.stem


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_cnn.fit.epochs", "ten", r'train_cnn.fit.epochs = "ten": .*integer'),
        ("train_cnn.fit.epochs", 0, r"train_cnn.fit.epochs = 0: .*greater than or equal to 1"),
        ("train_cnn.fit.epochs", 2.5, r"train_cnn.fit.epochs = 2.5: .*integer"),
        ("train_cnn.fit.epochs", True, r"train_cnn.fit.epochs = true: .*integer"),
        ("train_cnn.fit.epoch", 3, r"train_cnn.fit.epoch: unknown key; did you mean epochs\?"),
        ("train_gan.stop.fool_rate", 1.5, r"train_gan.stop.fool_rate = 1.5: .*less than or equal to 1"),
        ("train_rnn.net.cell", "elman", r"train_rnn.net.cell = \"elman\": .*'gru', 'lstm' or 's4d'"),
        ("train_rnn.net", S4D | {"contrast": "image"}, "cell s4d reads single pixels"),
        ("train_rnn.net", S4D | {"reads": "columns"}, "cell s4d reads single pixels"),
        ("dataset", "My Set", r"dataset = \"My Set\": .*pattern"),
        ("train_cnn.fit.weight_decay", float("nan"), r"train_cnn.fit.weight_decay"),
        ("compute.device", "gpu", r"compute.device = \"gpu\": .*'cpu' or 'cuda'"),
        ("compute.precision", 16, r"compute.precision = 16: .*'32' or 'bf16-mixed'"),
        ("compute.precision", "bf16-mixed", r"compute.*: .*needs device: cuda"),
    ],
)
def test_an_invalid_value_is_reported_with_what_is_allowed(key: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(changed(key, value), Params, "params.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": {"center": {"low": 3, "high": 1}}}, r"low \(3.0\) must be below high"),
        ({"where": {"urls": ["ftp://x"]}}, r"where.urls.0 = \"ftp://x\": .*pattern"),
        ({"where": {"urls": []}}, "needs either path and sha256, or urls and files"),
        ({"where": {"path": "x", "sha256": "0" * 64}}, "needs either path and sha256, or urls and files"),
        ({"kind": "bundled"}, "where needs path and sha256, or urls and files, unless"),
        ({"kind": "npz"}, "npz from urls must be one file"),
        ({"kind": "recordings", "where": {"files": {"only": "0" * 64}}}, "recordings from urls must be one file"),
        ({"split": {"validation": 1.5}}, "split.validation"),
        ({"floor": {}}, "floor: unknown key; did you mean floors"),
    ],
)
def test_an_invalid_description_is_reported(changes: dict[str, Any], message: str) -> None:
    shipped = read_yaml(ROOT / "datasets/mnist.yaml")
    with pytest.raises(UserError, match=message):
        check(overlay(shipped, changes), Dataset, "datasets/mnist.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "datasets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_description_is_valid_and_runs_with_every_profile(path: Path) -> None:
    described = read_dataset(ROOT, path.stem)
    for profile in ("default", "smoke") if described.kind != "bundled" else ():
        assert parse_yaml(generated(ROOT, profile, path.stem)["params.yaml"], "x")["dataset"] == path.stem


@pytest.mark.parametrize("name", ["mnist", "digits"])
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_data_that_ship_have_every_floor(name: str, task: Task) -> None:
    floors = getattr(read_dataset(ROOT, name).floors, task.name)
    uneven = {"min_balanced_accuracy", "min_macro_f1", "min_roc_auc", "min_average_precision"}
    assert {floor for floor in task.rules if getattr(floors, floor) is None} <= uneven


def test_a_missing_key_is_reported() -> None:
    data = copy.deepcopy(SHIPPED)
    del data["compute"]["threads"]
    with pytest.raises(UserError, match="compute.threads: is missing"):
        check(data, Params, "params.yaml")


@pytest.mark.parametrize(
    "text", ["a: b: c", "- 1", "", "a: 1\na: 2", "\0"], ids=["nested mapping", "list", "empty", "duplicate key", "nul"]
)
def test_a_file_that_is_not_a_mapping_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="params.yaml"):
        read_params(Params, path)


def test_the_error_for_a_missing_file_says_how_to_restore_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="git checkout"):
        read_params(Params, tmp_path / "params.yaml")


def test_exponents_parse_as_numbers_as_in_dvc(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("rate: 1e-3")
    assert read_yaml(path) == {"rate": 1e-3}


junk = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers()))


@given(st.sampled_from(leaves(SHIPPED)), junk)
def test_no_value_causes_a_traceback(key: str, value: Any) -> None:
    try:
        assert isinstance(check(changed(key, value), Params, "params.yaml"), Params)
    except UserError as error:
        assert key.split(".")[0] in str(error)


def test_overlay_replaces_only_leaves() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert overlay(base, {"a": {"c": [9]}}) == {"a": {"b": 1, "c": [9]}, "d": 3}
    assert base["a"] == {"b": 1, "c": [1, 2]}


def test_the_default_profile_equals_the_shipped_parameters(tmp_path: Path) -> None:
    merged = tmp_path / "params.yaml"
    files = generated(ROOT, "default")
    assert list(files) == ["params.yaml"]
    merged.write_text(files["params.yaml"])
    assert read_params(Params, merged) == read_params(Params, ROOT / "params.yaml")


def test_the_error_for_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="Profiles: default, gpu, pixels, smoke"):
        generated(ROOT, "smok")


TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
PIECES = st.one_of(
    st.text(max_size=6),
    st.sampled_from([": ", "- ", "\n", "\t", "&a ", "*a", "!!binary ", "!!python/object:os.system ", "{", "[", "'"]),
    st.sampled_from(["%", "?", "|", "2026-02-30", "0x", "1e999", ".nan", "<<: ", "---\n", "...", "\ufeff", "\0", "~"]),
    st.builds(lambda piece, times: piece * times, st.sampled_from("[{-? :"), st.integers(100, 3000)),
)


@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 40), PIECES), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_no_text_causes_a_traceback(edits: list[tuple[int, int, str]]) -> None:
    text = TEXT
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    with contextlib.suppress(UserError):
        check(parse_yaml(text, "params.yaml"), Params, "params.yaml")
