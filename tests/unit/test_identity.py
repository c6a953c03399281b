"""A package is one unit: what does not come from one training is named before registration, and when it is fetched."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from deepdigits.core import paths
from deepdigits.core.arrays import read_arrays
from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, read_json, sha256, write_json, write_npz, write_text
from deepdigits.core.measures import weights_file, weights_named
from deepdigits.data.digits.manifest import Origin, describe
from deepdigits.data.digits.splits import Split, save_split, subset
from deepdigits.export.runtime import difference
from deepdigits.ops.lineage import Lineage
from deepdigits.ops.tracking import DatasetIdentity, open_store, stage_run, store_uri
from deepdigits.promotion.registered import RegisteredModel, fetch
from deepdigits.release.config import Package
from deepdigits.release.identity import CONTENTS, FILES
from deepdigits.release.packaged import describe_package, read_packaged
from deepdigits.release.registry import register
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.training.weights import save_network
from pipelines.package import package_model
from tests.conftest import forget_stores

CNN = TASKS["cnn"]
FIGURES = paths.evaluation_file("cnn")
CARD = Path("models/cnn/model_card.md")
ENVIRONMENT = {"requirements_sha256": "e" * 64, "torch": "2.13.0", "cpu": "AVX2", "device": "cpu"}


def train(seed: int) -> None:
    """Save the weights and the description of a CNN."""
    torch.manual_seed(seed)
    config = CnnNet(widths=(4, 4, 4, 8, 8))
    save_network("cnn", config, Cnn(config).state_dict(), weights_file("cnn"))


def evaluate() -> None:
    data = {"dataset.sha256": read_json(paths.MANIFEST)["sha256"]}
    write_json(FIGURES, {"cnn.test.accuracy": 0.5, "cnn.test.errors": 7, **data, **weights_named("cnn", [])})


def package() -> None:
    package_model(CNN, Package(onnx_tolerance=1e-4, golden_examples=4), {"classes": list("0123456789")})
    write_text(CARD, f"# CNN\n\nWeights: SHA-256 `{file_sha256(weights_file('cnn'))}`.\n")
    describe_package(CNN)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def packaged(digits_train: Split, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An untrained CNN, packaged and registered."""
    root = tmp_path_factory.mktemp("identity")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        forget_stores()
        few = subset(digits_train, 20, 0)
        save_split(few, paths.split_file("validation"))
        manifest = describe(Origin("digits", "Digits", "UCI", "0123456789"), {"train": few}, {}, 0)
        write_json(paths.MANIFEST, manifest)
        write_text(Path("reports/plots/train_cnn.csv"), "epoch,val/accuracy\n1,0.5\n")
        train(0)
        evaluate()
        package()
        tags = {"model.sha256": file_sha256(weights_file("cnn"))}
        lineage = Lineage("train_cnn", "f" * 64, "smoke", "c" * 40, False, ENVIRONMENT)
        with stage_run(lineage, DatasetIdentity.of(manifest), "train_cnn", tags, "training") as run:
            run.params({"net": {"widths": 4}})
        register(read_packaged(CNN, "smoke"))
        yield root
        forget_stores()


@pytest.fixture
def workspace(packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(packaged, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    forget_stores()
    yield tmp_path / "workspace"
    forget_stores()


def registration_error() -> str:
    with pytest.raises(UserError) as error:
        register(read_packaged(CNN, "smoke"))
    assert "Nothing was registered. Run: dvc repro" in str(error.value)
    assert len(open_store().search_model_versions("name = 'digits-cnn'")) == 1
    return str(error.value)


def test_weights_of_another_training_are_not_registered(workspace: Path) -> None:
    before = file_sha256(weights_file("cnn"))[:12]
    train(1)
    now = file_sha256(weights_file("cnn"))[:12]
    message = registration_error()
    assert message.startswith(f"{FIGURES} is not about these weights")
    assert before in message
    assert f"models/cnn/model.safetensors is {now}" in message
    evaluate()
    assert f"models/cnn is not a complete package: package.json names weights {before}" in registration_error()
    package()
    assert read_packaged(CNN, "smoke").weights_sha256.startswith(now)


@pytest.mark.parametrize("name", [*FILES, "model.safetensors", CONTENTS])
def test_a_packaged_file_with_a_flipped_byte_is_named_and_nothing_is_registered(name: str, workspace: Path) -> None:
    path = Path("models/cnn") / name
    flip(path)
    if name == CONTENTS:
        with pytest.raises(UserError, match=r"package.json|not a complete package"):
            read_packaged(CNN, "smoke")
    elif name == "model.json":  # unreadable JSON is reported as such
        with pytest.raises(UserError, match=r"models/cnn.*model.json"):
            read_packaged(CNN, "smoke")
    else:
        assert name in registration_error()


def test_figures_changed_since_packaging_are_not_registered(workspace: Path) -> None:
    write_json(FIGURES, {**read_json(FIGURES), "cnn.test.accuracy": 0.99})
    assert f"{FIGURES} has different figures" in registration_error()


def golden_of_other_weights() -> None:
    path = Path("models/cnn/golden.npz")
    write_npz(path, {**read_arrays(path), "weights_sha256": np.array("0" * 64)})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("golden.npz", golden_of_other_weights),
        ("model_card.md", lambda: write_text(CARD, "# CNN\n")),
        ("model.onnx", lambda: shutil.copy("other.onnx", "models/cnn/model.onnx")),
    ],
)
def test_a_file_that_names_other_weights_does_not_belong_to_the_package(
    name: str, change: Callable[[], None], workspace: Path
) -> None:
    kept = Path("models/cnn/model.onnx").read_bytes()
    Path("other.onnx").write_bytes(kept.replace(file_sha256(weights_file("cnn")).encode(), b"1" * 64))
    change()
    describe_package(CNN)
    assert f"{name} names weights" in registration_error()


def test_an_experiment_registers_its_model_without_becoming_the_candidate(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(CARD, f"{CARD.read_text()}It is a trial.\n")
    describe_package(CNN)
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c" * 40)
    trial = register(read_packaged(CNN, "smoke"))
    assert (trial.version, trial.aliases, trial.new) == (2, [], True)
    assert open_store().get_model_version_by_alias("digits-cnn", "candidate").version == 1
    monkeypatch.delenv("DVC_EXP_BASELINE_REV")
    applied = register(read_packaged(CNN, "smoke"))
    assert (applied.version, applied.aliases, applied.new) == (2, ["candidate"], False)


def fetched(folder: Path) -> RegisteredModel:
    return fetch(open_store().get_model_version("digits-cnn", "1"), folder, store_uri())


def test_every_file_of_a_version_is_listed_and_a_flipped_byte_in_it_is_detected(workspace: Path) -> None:
    model = fetched(workspace / "whole")
    assert {f"artifacts/{name}" for name in (*FILES, CONTENTS)} | {"classifier.py", "MLmodel"} < set(model.named_files)
    (root,) = Path("mlruns/artifacts").rglob("MLmodel")
    for number, path in enumerate(model.named_files):
        stored = root.parent / path
        kept = stored.read_bytes()
        flip(stored)
        with pytest.raises(UserError, match=rf"digits-cnn version 1: {path} is \w+, not the one that was registered"):
            fetched(workspace / f"flipped {number}")
        stored.unlink()
        with pytest.raises(UserError, match=f"{path} is missing"):
            fetched(workspace / f"missing {number}")
        stored.write_bytes(kept)


def test_tags_changed_behind_the_registrys_back_are_detected(workspace: Path) -> None:
    client = open_store()
    client.set_model_version_tag("digits-cnn", "1", "model.sha256", "2" * 64)
    with pytest.raises(UserError, match=f"but the weights are {'2' * 12}"):
        fetched(workspace / "one")
    for key in client.get_model_version("digits-cnn", "1").tags:
        if key.startswith("sha256/"):
            client.delete_model_version_tag("digits-cnn", "1", key)
    with pytest.raises(UserError, match="package.sha256"):
        fetched(workspace / "two")


def test_a_version_registered_before_files_were_listed_is_checked_against_its_package_hash(workspace: Path) -> None:
    client, model = open_store(), fetched(workspace / "new")
    for key in (key for key in model.tags if key.startswith("sha256/")):
        client.delete_model_version_tag("digits-cnn", "1", key)
    hashes = [model.tags["model.sha256"], *(file_sha256(model.files / name) for name in FILES)]
    client.set_model_version_tag("digits-cnn", "1", "package.sha256", sha256("".join(hashes).encode()))
    assert fetched(workspace / "old").judged_by == {}
    (golden,) = Path("mlruns/artifacts").rglob("golden.npz")
    flip(golden)
    with pytest.raises(UserError, match="taken together are not what was registered"):
        fetched(workspace / "changed")


def member(shape: str, descr: str = "|u1", data: bytes = b"\0" * 8) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def archive(path: Path, data: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("in_images.npy", data)
    return path


CLAIMED_SHAPES = (
    "(1000000000000,)", "(1000000, 1000000, 28, 28)", "(9,)", "(7,)", "(-1,)", "(2**60,)", "(8,", "(" * 200, "8",
)  # fmt: skip


@pytest.mark.parametrize(
    "data", [*map(member, CLAIMED_SHAPES), member("(1,)", "|O"), member("(0,)", "<U0"), b"", b"\x93NUMPY\x09\x00"]
)
def test_arrays_whose_header_does_not_match_the_data_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read arrays from a.npz"):
        read_arrays(archive(tmp_path / "a.npz", data))


def test_compressed_arrays_and_files_that_are_not_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="compressed"):
        read_arrays(archive(tmp_path / "bomb.npz", member("(10000000,)", data=bytes(10**7)), zipfile.ZIP_DEFLATED))
    for name, data in {"text.npz": b"no archive", "none.npz": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            read_arrays(tmp_path / name)
    with pytest.raises(UserError, match=r"missing.npz"):
        read_arrays(tmp_path / "missing.npz")


def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.asfortranarray(np.eye(3)), "c": np.array("x")}
    write_npz(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert all((found[name] == array).all() and found[name].dtype == array.dtype for name, array in arrays.items())


WHOLE = io.BytesIO()
np.savez(WHOLE, images=np.arange(12, dtype=np.uint8).reshape(3, 4), labels=np.arange(3))


def test_damaged_arrays_are_read_or_refused(tmp_path: Path) -> None:
    rng, whole = np.random.default_rng(0), np.frombuffer(WHOLE.getvalue(), np.uint8)
    rejected = 0
    for _ in range(500):
        data = whole.copy()
        data[rng.integers(len(data), size=3)] = rng.integers(256, size=3)
        (tmp_path / "damaged.npz").write_bytes(data.tobytes())
        try:
            found = read_arrays(tmp_path / "damaged.npz")
        except UserError:
            rejected += 1
            continue
        assert sum(array.nbytes for array in found.values()) <= len(data)
    assert rejected > 100


def test_nan_differs_from_everything() -> None:
    assert difference(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == np.inf
    assert difference(np.array([1.0, np.inf]), np.array([1.0, np.inf])) == 0
    assert difference(np.array([1, 2]), np.array([1.5, 2.0])) == 0.5


def test_a_pixel_on_the_edge_between_two_classes_does_not_condemn_a_mask() -> None:
    mask = np.random.default_rng(0).integers(0, 11, (32, 84, 84), np.uint8)
    other = mask.copy()
    other[3, 40, 40] ^= 1
    assert 0 < difference(other, mask) < 1e-5
    assert difference(np.arange(32), np.arange(32) // 2 * 2) == 0.5
    assert difference(np.array([True, False]), np.array([True, True])) == 0.5
