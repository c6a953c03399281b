"""Promotion against a real store: the finished smoke pipeline and a second, worse version of its CNN."""

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
from tests.pipeline.registry import aliases, decide, entries, faults, run_cli


def test_first_version_is_promoted_on_its_floors_alone_and_leaves_evidence(cnn: str) -> None:
    done = run_cli("promote", f"{cnn}/1", "--json")
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
    done = run_cli("promote", cnn, "--json")
    assert done.exit_code == 3
    decision = json.loads(done.stdout)
    table = decision["numbers"]["contingency"]
    assert table["only_champion_right"] > table["only_candidate_right"]
    assert sum(table.values()) == read_json(Path("data/processed/manifest.json"))["splits"]["test"]["count"]
    assert any("Not better" in reason or "Recall of class" in reason for reason in decision["reasons"])
    assert aliases(cnn) == {"champion": 1, "previous": None}
    assert entries()[-1]["action"] == "refused"
    client = open_store()
    assert "**refused**" in client.get_model_version(cnn, "2").description
    logged = client.get_run(entries()[-1]["run_id"]).data.metrics
    assert logged["mcnemar_p"] == pytest.approx(decision["numbers"]["mcnemar_p"])
    assert logged["contingency.both_wrong"] == table["both_wrong"]
    assert "accuracy" in logged
    assert faults() == []


def test_better_candidate_replaces_the_champion_and_rollback_restores_it(cnn: str) -> None:
    decide(f"{cnn}/2")
    outcome = decide(f"{cnn}/1")
    assert (outcome.action, aliases(cnn)) == ("promoted", {"champion": 1, "previous": 2})
    assert "p = " in outcome.reasons[0]

    done = run_cli("rollback", cnn)
    assert done.exit_code == 0, done.output
    assert aliases(cnn) == {"champion": 2, "previous": 1}
    assert run_cli("rollback", cnn).exit_code == 0
    assert aliases(cnn) == {"champion": 1, "previous": 2}
    assert [entry["action"] for entry in entries()] == ["promoted", "promoted", "rolled back", "rolled back"]
    assert faults() == []
    history = run_cli("history", cnn)
    assert "version 1 promoted, champion 2 -> 1" in history.stdout
    assert "Rolled back from version 1 to version 2." in history.stdout


def test_promoting_identical_bytes_changes_nothing(cnn: str) -> None:
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


def test_champion_tested_on_other_data_is_compared_only_on_request(cnn: str) -> None:
    decide(f"{cnn}/2")
    open_store().set_model_version_tag(cnn, "2", "dataset.sha256", "f" * 64)
    refused = decide(f"{cnn}/1")
    assert refused.action == "refused"
    assert "--allow-other-data" in refused.reasons[0]
    assert decide(f"{cnn}/1", allow_other_data=True).action == "promoted"


def test_candidate_tested_on_data_other_than_the_local_data_is_an_error(cnn: str) -> None:
    open_store().set_model_version_tag(cnn, "2", "dataset.sha256", "f" * 64)
    done = run_cli("promote", cnn)
    assert done.exit_code == 2
    assert "was tested on data ffffffffffff" in " ".join(done.output.replace("│", " ").split())


def test_modified_test_split_is_never_used_for_scoring(cnn: str) -> None:
    path = Path("data/processed/test.npz")
    with np.load(path) as arrays:
        images, labels = arrays["images"], arrays["labels"].copy()
    labels[:2] = labels[1::-1]
    path.unlink()  # it may be a link into DVC's cache
    np.savez(path, images=images, labels=labels)
    with pytest.raises(UserError, match=r"test.npz is not what data/processed/manifest.json says"):
        decide(cnn)


def test_modified_registered_file_is_never_scored(cnn: str) -> None:
    for path in Path("mlruns/artifacts").rglob("model.onnx"):
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match="not the one that was registered"):
        decide(cnn)
    assert entries() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_invalid_usage_gives_one_message_and_exit_code_2(cnn: str, arguments: list[str], message: str) -> None:
    done = run_cli(*(argument.format(cnn=cnn) for argument in arguments))
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output


def test_rollback_without_a_previous_champion_says_so(cnn: str) -> None:
    decide(f"{cnn}/1")
    with pytest.raises(UserError, match="nothing to roll back to"):
        rollback(cnn)


@pytest.mark.parametrize("model", [name for name in TASKS if name != "cnn"])
def test_other_models_are_promoted_from_registered_files_alone(model: str, registry_clone: Path) -> None:
    """The judges, too, come from registered files: the versions packaged with the candidate, named in the record."""
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
        assert judge["version"] == 1  # the CNN's candidate is version 2
        assert judge["onnx.sha256"] == tags["onnx.sha256"]
        assert f"{name} version 1 (weights `{tags['model.sha256']}`, ONNX `{tags['onnx.sha256']}`)" in outcome.record


def test_swap_is_judged_by_the_champion_cnn_and_never_by_a_damaged_or_missing_one(cnn: str) -> None:
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


def test_noisy_segmenter_is_refused_by_the_paired_comparison_on_scenes(
    registry_clone: Path, two_versions: Workspace
) -> None:
    name = f"{read_json(Path('data/processed/manifest.json'))['name']}-segmenter"
    decide(name)
    forget_stores()
    done = replace(two_versions, root=registry_clone).python("-m", "tests.pipeline.changed_model", "segmenter", "0.5")
    assert done.returncode == 0, done.stderr
    outcome = decide(name)
    assert outcome.action == "refused"
    assert "Paired bootstrap over test images" in outcome.record
    assert outcome.numbers["scores"]["candidate"] < outcome.numbers["scores"]["champion"]


def test_scenes_changed_after_they_were_described_are_not_used_for_judging(registry_clone: Path) -> None:
    name = f"{read_json(Path('data/processed/manifest.json'))['name']}-detector"
    path = Path("data/scenes/test.npz")
    scenes = load_scenes(path)
    boxes = scenes.boxes.copy()
    boxes[0, 2] += 1
    path.unlink()  # it may be a link into DVC's cache
    save_scenes(replace(scenes, boxes=boxes), path)
    with pytest.raises(UserError, match="dvc repro --force compose"):
        decide(name)


def test_worse_generator_is_refused_by_the_confidence_intervals(registry_clone: Path, two_versions: Workspace) -> None:
    name = f"{read_json(Path('data/processed/manifest.json'))['name']}-gan"
    decide(name)
    forget_stores()
    done = replace(two_versions, root=registry_clone).python("-m", "tests.pipeline.changed_model", "gan", "0.2")
    assert done.returncode == 0, done.stderr
    outcome = decide(name)
    assert outcome.action == "refused"
    assert "FID changes by" in outcome.reasons[-1]
    assert outcome.numbers["fid"]["candidate"] > outcome.numbers["fid"]["champion"]
