"""Promotion against a real store: the finished smoke pipeline, and a second, worse version of its CNN."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest

from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, read_json
from deepdigits.data.scenes.scenes import load_scenes, save_scenes
from deepdigits.ops.tracking import open_store
from deepdigits.promotion.promote import rollback
from deepdigits.tasks.catalogue import TASKS
from tests.conftest import forget_stores
from tests.pipeline.conftest import Workspace
from tests.pipeline.registry import aliases, command, decide, entries, faults


def test_the_first_version_is_promoted_by_its_floors_and_leaves_evidence(cnn: str) -> None:
    done = command("promote", f"{cnn}/1", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["action"] == "promoted"
    assert aliases(cnn) == {"champion": 1, "previous": None}

    client = open_store()
    (entry,) = entries()
    assert (entry["action"], entry["version"], entry["champion_before"], entry["before"]) == (
        "promoted",
        1,
        None,
        "0" * 64,
    )
    run = client.get_run(entry["run_id"])
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "registry"
    record = Path(client.download_artifacts(run.info.run_id, "decision.md")).read_text()
    assert "| accuracy |" in record
    version = client.get_model_version(cnn, "1")
    assert version.description.startswith("## Decisions\n\n- **promoted** on ")
    card = mlflow.artifacts.download_artifacts(f"models:/{cnn}/1/artifacts/model_card.md")
    assert version.description.endswith(Path(card).read_text())
    assert (version.tags["promotion"], version.tags["promotion.ledger"]) == ("promoted", "1")
    assert faults() == []


def test_a_worse_candidate_is_refused_with_reasons_and_exit_code_3(cnn: str) -> None:
    decide(f"{cnn}/1")
    done = command("promote", cnn, "--json")
    assert done.exit_code == 3
    decision = json.loads(done.stdout)
    table = decision["numbers"]["contingency"]
    assert table["only_champion_right"] > table["only_candidate_right"]
    assert sum(table.values()) == read_json(Path("data/processed/manifest.json"))["splits"]["test"]["count"]
    assert any("Not better" in reason or "Recall of digit" in reason for reason in decision["reasons"])
    assert aliases(cnn) == {"champion": 1, "previous": None}
    assert entries()[-1]["action"] == "refused"
    client = open_store()
    assert "**refused**" in client.get_model_version(cnn, "2").description
    shown = client.get_run(entries()[-1]["run_id"]).data.metrics
    assert shown["mcnemar_p"] == pytest.approx(decision["numbers"]["mcnemar_p"])
    assert shown["contingency.both_wrong"] == table["both_wrong"]
    assert "accuracy" in shown
    assert faults() == []


def test_a_better_candidate_takes_the_place_and_rollback_gives_it_back(cnn: str) -> None:
    decide(f"{cnn}/2")
    outcome = decide(f"{cnn}/1")
    assert (outcome.action, aliases(cnn)) == ("promoted", {"champion": 1, "previous": 2})
    assert "p = " in outcome.reasons[0]

    done = command("rollback", cnn)
    assert done.exit_code == 0, done.output
    assert aliases(cnn) == {"champion": 2, "previous": 1}
    assert command("rollback", cnn).exit_code == 0
    assert aliases(cnn) == {"champion": 1, "previous": 2}
    assert [entry["action"] for entry in entries()] == ["promoted", "promoted", "rolled back", "rolled back"]
    assert faults() == []
    listed = command("history", cnn)
    assert "version 1 promoted, champion 2 -> 1" in listed.stdout
    assert "Rolled back from version 1 to version 2." in listed.stdout


def test_the_same_bytes_are_nothing_to_promote(cnn: str) -> None:
    decide(f"{cnn}/1")
    outcome = decide(f"{cnn}/1")
    assert outcome.action == "unchanged"
    assert "Nothing to promote" in outcome.reasons[0]
    assert len(entries()) == 1


def test_a_dry_run_decides_and_changes_nothing(cnn: str) -> None:
    assert decide(f"{cnn}/1", dry_run=True).action == "promoted"
    assert aliases(cnn) == {"champion": None, "previous": None}
    assert entries() == []
    assert open_store().get_experiment_by_name("registry") is None


def test_a_champion_of_other_data_is_compared_only_when_asked(cnn: str) -> None:
    decide(f"{cnn}/2")
    open_store().set_model_version_tag(cnn, "2", "dataset.sha256", "f" * 64)
    refused = decide(f"{cnn}/1")
    assert refused.action == "refused"
    assert "--allow-other-data" in refused.reasons[0]
    assert decide(f"{cnn}/1", allow_other_data=True).action == "promoted"


def test_a_candidate_of_other_data_than_here_is_an_error(cnn: str) -> None:
    open_store().set_model_version_tag(cnn, "2", "dataset.sha256", "f" * 64)
    done = command("promote", cnn)
    assert done.exit_code == 2
    assert "was tested on data ffffffffffff" in " ".join(done.output.replace("│", " ").split())


def test_test_images_that_were_changed_are_never_scored_on(cnn: str) -> None:
    path = Path("data/processed/test.npz")
    with np.load(path) as arrays:
        images, labels = arrays["images"], arrays["labels"].copy()
    labels[:2] = labels[1::-1]
    path.unlink()  # it may be a link into DVC's cache
    np.savez(path, images=images, labels=labels)
    with pytest.raises(UserError, match=r"test.npz is not what data/processed/manifest.json says"):
        decide(cnn)


def test_a_registered_file_that_was_changed_is_never_scored(cnn: str) -> None:
    for path in Path("mlruns/artifacts").rglob("model.onnx"):
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match="not the one that was registered"):
        decide(cnn)
    assert entries() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "nothing"], "The registry has no model 'nothing'. It has: "),
        (["promote", "{cnn}/9"], "has no version 9. There are 2 versions"),
        (["promote", "{cnn}@best"], "no version with the alias 'best'"),
        (["promote", "a b"], "is not a model. Write NAME"),
        (["promote", "{cnn}", "--from", "sqlite:///x"], "--from and --to must be given together"),
        (["rollback", "{cnn}"], "no version with the alias 'champion'"),
        (["history", "nothing"], "The registry has no model"),
        (["verify", "{cnn}@best"], "no version with the alias"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(cnn: str, arguments: list[str], said: str) -> None:
    done = command(*(argument.format(cnn=cnn) for argument in arguments))
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output


def test_rollback_without_a_champion_before_says_so(cnn: str) -> None:
    decide(f"{cnn}/1")
    with pytest.raises(UserError, match="nothing to roll back to"):
        rollback(cnn)


@pytest.mark.parametrize("model", ["rnn", "gan", "detector", "segmenter", "swap", "fakes"])
def test_the_other_models_are_promoted_too(model: str, here: Path) -> None:
    """From registered files alone: what judges, too, is the version packaged with the candidate, and named."""
    dataset = read_json(Path("data/processed/manifest.json"))["name"]
    shutil.rmtree("models")
    outcome = decide(f"{dataset}-{model}")
    assert outcome.action == "promoted", outcome.reasons
    if model == "gan":
        assert "come from the CNN" in outcome.record
    client = open_store()
    (evidence,) = Path("mlruns/artifacts").rglob("evidence.json")
    judges = {judge["name"]: judge for judge in read_json(evidence)["judges"]}
    assert set(judges) == {f"{dataset}-{judge}" for judge in TASKS[model].judges}
    for name, judge in judges.items():
        tags = client.get_model_version(name, "1").tags
        assert judge["version"] == 1  # of the CNN, the candidate is version 2
        assert judge["onnx.sha256"] == tags["onnx.sha256"]
        assert f"{name} version 1 (weights `{tags['model.sha256']}`, ONNX `{tags['onnx.sha256']}`)" in outcome.record


def test_a_swap_is_judged_by_the_champion_and_never_by_a_damaged_or_a_missing_cnn(cnn: str) -> None:
    swap = cnn.replace("-cnn", "-swap")
    decide(f"{cnn}/2")
    assert f"read by the CNN {cnn} version 2 " in decide(swap, dry_run=True).record
    champion = open_store().get_model_version(cnn, "2").tags["onnx.sha256"]
    for path in Path("mlruns/artifacts").rglob("model.onnx"):
        if file_sha256(path) == champion:
            path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match=f"{cnn} version 2: artifacts/model.onnx"):
        decide(swap)
    open_store().delete_registered_model(cnn)
    with pytest.raises(UserError, match=f"Run first: deepdigits promote {cnn}"):
        decide(swap)
    assert [entry["name"] for entry in entries()] == [cnn]


def test_a_segmenter_of_noise_is_refused_by_paired_scenes(here: Path, two_versions: Workspace) -> None:
    name = f"{read_json(Path('data/processed/manifest.json'))['name']}-segmenter"
    decide(name)
    forget_stores()
    done = Workspace(here, two_versions.environment).python("-m", "tests.pipeline.changed_model", "segmenter", "2.0")
    assert done.returncode == 0, done.stderr
    outcome = decide(name)
    assert outcome.action == "refused"
    assert "Paired bootstrap over test images" in outcome.record
    assert outcome.numbers["scores"]["candidate"] < outcome.numbers["scores"]["champion"]


def test_scenes_changed_since_they_were_described_are_not_judged_on(here: Path) -> None:
    name = f"{read_json(Path('data/processed/manifest.json'))['name']}-detector"
    path = Path("data/scenes/test.npz")
    scenes = load_scenes(path)
    boxes = scenes.boxes.copy()
    boxes[0, 2] += 1
    path.unlink()  # it may be a link into DVC's cache
    save_scenes(replace(scenes, boxes=boxes), path)
    with pytest.raises(UserError, match="dvc repro --force compose"):
        decide(name)


def test_a_worse_generator_is_refused_by_its_intervals(here: Path, two_versions: Workspace) -> None:
    name = f"{read_json(Path('data/processed/manifest.json'))['name']}-gan"
    decide(name)
    forget_stores()
    done = Workspace(here, two_versions.environment).python("-m", "tests.pipeline.changed_model", "gan", "0.2")
    assert done.returncode == 0, done.stderr
    outcome = decide(name)
    assert outcome.action == "refused"
    assert "FID changes by" in outcome.reasons[-1]
    assert outcome.numbers["fid"]["candidate"] > outcome.numbers["fid"]["champion"]
