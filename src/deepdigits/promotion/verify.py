"""`deepdigits verify`: is a registered version what it claims to be, and can it be rebuilt?"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, sha256, write_text
from deepdigits.core.loading import PARAMS_FILE, parse_yaml, read_yaml
from deepdigits.data.described import read_described
from deepdigits.export.onnx import golden_examples
from deepdigits.export.runtime import difference, golden_arrays, golden_difference
from deepdigits.ops.git import GitError, git
from deepdigits.ops.lineage import generated_files
from deepdigits.ops.pipeline import MAIN
from deepdigits.ops.tracking import open_store, store_uri
from deepdigits.promotion.registered import RegisteredModel, fetch, find, find_model, measures_of, parse_reference
from deepdigits.promotion.transaction import CHAMPION, alias_version
from deepdigits.release.generated import as_yaml, generated
from deepdigits.release.identity import CONTENTS, read_contents
from deepdigits.release.lockcheck import locked_outs
from deepdigits.release.params import Params
from deepdigits.release.registry import CANDIDATE
from deepdigits.release.workspace import child_environment
from deepdigits.tasks.catalogue import TASKS

WEIGHTS = "model.safetensors"
LOCKS = ("dvc.lock", "pipelines/*/dvc.lock")
LINEAGE = ("stage", "stage.fingerprint", "git.commit", "dataset.sha256", "environment.sha256", "model.sha256")


@dataclass(frozen=True)
class Check:
    """One question and its answer."""

    question: str
    passed: bool
    detail: str


def verify(reference: str, params: Params, *, rebuild: bool, say: Callable[[str], None]) -> list[Check]:
    """Run all checks on one version. The default is the champion, or the candidate if there is no champion.

    Raises:
        UserError: the version cannot be found or read, or this is not a git repository.
    """
    client = open_store()
    name, _, _ = parse_reference(reference)
    find_model(client, name)
    default = CHAMPION if alias_version(client, name, CHAMPION) else CANDIDATE
    version = find(client, reference, default)
    with tempfile.TemporaryDirectory() as folder:
        model = fetch(version, Path(folder), store_uri())
        tolerance = params.package.onnx_tolerance
        checks = [
            _lock_check(model),
            *_lineage_checks(model),
            _params_check(client.get_run(model.run_id).data.params),
            *_package_checks(model, measures_of(client, version)),
            _golden_check(model, tolerance),
            _weights_check(client, model, tolerance, Path(folder)),
        ]
        if rebuild:
            checks.append(_rebuild_check(model, Path(folder), say))
    return checks


def _lock_check(model: RegisteredModel) -> Check:
    """Compare by MD5, as DVC does. The registry's own hash of the file was checked when it was fetched."""
    question = "a dvc.lock names this file"
    found = _lock_with(model)
    if found is None:
        return Check(question, False, f"no commit here names it as {_onnx_path(model)} in a dvc.lock")
    return Check(question, True, f"{_onnx_path(model)} of {found.where}, {found.path}")


def _onnx_path(model: RegisteredModel) -> str:
    return f"models/{model.kind}/model.onnx"


@dataclass(frozen=True)
class Lock:
    """A dvc.lock that names a version's ONNX file.

    Attributes:
        where: the commit that has it, or the working copy, for a reader.
        outs: the MD5 of every output, by path.
    """

    where: str
    path: str
    outs: Mapping[str, str]


def _lock_with(model: RegisteredModel) -> Lock | None:
    """The dvc.lock of HEAD, or else of the newest commit that has one which names the model's ONNX file.

    A working copy of a profile or of own data has its own dvc.lock, which nobody commits.
    """
    with model.onnx.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    for commit in ("HEAD", *_git("log", "--format=%H", f"-S{md5}", "--", *LOCKS).decode().split()):
        for path in _git("ls-tree", "-r", "--name-only", commit, "--", "dvc.lock", "pipelines").decode().split("\n"):
            outs = _outs(_file_at(commit, path)) if path.endswith("dvc.lock") else {}
            if outs.get(_onnx_path(model)) == md5:
                return Lock("this commit" if commit == "HEAD" else f"commit {commit[:12]}", path, outs)
    if generated_files(Path.cwd()):
        for file_path in (found for pattern in LOCKS for found in sorted(Path().glob(pattern))):
            outs = _outs(file_path.read_bytes())
            if outs.get(_onnx_path(model)) == md5:
                return Lock("this working copy", file_path.as_posix(), outs)
    return None


def _outs(lock: bytes) -> dict[str, str]:
    """The MD5 of every output in a dvc.lock, by path; empty if the dvc.lock is missing or malformed."""
    try:
        return locked_outs(lock.decode("utf-8", errors="replace"))
    except UserError:
        return {}


def _lineage_checks(model: RegisteredModel) -> list[Check]:
    missing = [key for key in LINEAGE if not model.tags.get(key)]
    checks = [Check("the lineage is complete", not missing, ", ".join(missing or LINEAGE))]
    commit, dirty = model.tags.get("git.commit", ""), model.tags.get("git.dirty") != "false"
    known = _is_known(commit)
    checks.append(Check("its commit is known here", known, commit or "none"))
    detail = "the commit plus changed files" if dirty else "nothing but the commit"
    checks.append(Check("it was made from a clean tree", not dirty, detail))
    if known:
        lock = sha256(_file_at(commit, "requirements.lock"))
        same = lock == model.tags.get("environment.sha256")
        checks.append(Check("its environment matches that commit's requirements.lock", same, lock[:12]))
    manifest = TASKS[model.kind].data.manifest
    if manifest.is_file():
        data = json.loads(manifest.read_text(encoding="utf-8"))["sha256"]
        same = data == model.tags.get("dataset.sha256")
        checks.append(Check("its data match the data here", same, str(model.tags.get("dataset.sha256"))[:12]))
    return checks


def _params_check(logged: dict[str, str]) -> Check:
    return Check("its training run has the parameters", bool(logged), f"{len(logged)} parameters")


def _golden_check(model: RegisteredModel, tolerance: float) -> Check:
    worst, count = golden_difference(model.onnx, model.files / "golden.npz")
    detail = f"{count} examples, largest difference {worst:.2g}, allowed {tolerance:g}"
    return Check("the ONNX file reproduces its golden examples", worst <= tolerance, detail)


def _package_checks(model: RegisteredModel, logged: Mapping[str, float]) -> list[Check]:
    """Check the file hashes' names and the figures. `fetch` has already checked that the files are one package."""
    question = "every file is named by its hash, and names the weights"
    if not model.named_files:
        return [Check(question, False, "registered before files were named by hash; register it again: make repro-all")]
    contents = read_contents(model.files)
    shown = {key: model.tags[key] for key in contents.measures if key in model.tags}
    same = all(logged.get(key) == value for key, value in contents.measures.items())
    same = same and all(value == f"{contents.measures[key]:.6g}" for key, value in shown.items())
    detail = f"{len(contents.measures)} figures, as in {CONTENTS}" if same else f"they differ from {CONTENTS}"
    return [
        Check(question, True, f"{len(model.named_files)} files with weights {contents.weights_sha256[:12]}"),
        Check("its figures are those of its weights", same, detail),
    ]


def _weights_check(client: MlflowClient, model: RegisteredModel, tolerance: float, folder: Path) -> Check:
    """Check that the ONNX file and the PyTorch weights come from one training: both reproduce the golden examples."""
    question = "the weights in its training run reproduce its golden examples"
    try:
        path = Path(client.download_artifacts(model.run_id, f"weights/{WEIGHTS}", str(folder)))
    except (MlflowException, OSError):
        return Check(question, False, "the run has no weights")
    found, expected = file_sha256(path), model.tags.get("model.sha256")
    if found != expected:
        return Check(question, False, f"the run has weights {found[:12]}, but the version has {str(expected)[:12]}")
    shutil.copy(model.files / "model.json", path.with_suffix(".json"))
    task = TASKS[model.kind]
    inputs, answers = golden_arrays(model.files / "golden.npz")
    given = golden_examples(task.exported(task.load(path)), inputs).outputs
    worst = max(difference(given[name], answer) for name, answer in answers.items())
    return Check(question, worst <= tolerance, f"largest difference {worst:.2g}, allowed {tolerance:g}")


def _rebuild_check(model: RegisteredModel, folder: Path, say: Callable[[str], None]) -> Check:
    """Run the version's pipeline at its commit, in a worktree with an empty cache and its own store."""
    question = "a rebuild from its commit has the same bytes"
    commit = model.tags.get("git.commit", "")
    if model.tags.get("git.dirty") != "false" or not _is_known(commit):
        return Check(question, False, "not tried: only a clean, known commit can be rebuilt")
    tree = folder / "rebuild"
    _git("worktree", "add", "--detach", str(tree), commit)
    try:
        if paths.DOWNLOADS.is_dir():  # ingest checks their hashes again
            shutil.copytree(paths.DOWNLOADS, tree / paths.DOWNLOADS)
        _generate(model, tree)
        say(f"Rebuilding {model.title} from commit {commit[:12]}: every stage of its pipeline runs from scratch.")
        own = {key: value for key, value in child_environment().items() if key != "MLFLOW_TRACKING_URI"}
        found = _lock_with(model)
        pipeline = found.path.removesuffix("lock") + "yaml" if found else MAIN
        command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache", pipeline]
        subprocess.run(
            [sys.executable, "-m", "dvc", "cache", "dir", "--local", "../cache"], cwd=tree, env=own, check=True
        )
        done = subprocess.run(command, cwd=tree, env=own, check=False)
        if done.returncode:
            return Check(question, False, f"the pipeline failed in the worktree with exit code {done.returncode}")
        return _compare(question, model, tree)
    finally:
        with contextlib.suppress(GitError):
            git(Path.cwd(), "worktree", "remove", "--force", str(tree))


def _generate(model: RegisteredModel, tree: Path) -> None:
    """Write the files of the version's profile and data, if the commit's own are for others.

    Raises:
        UserError: the commit lacks the profile or the description of the data.
    """
    profile, params = model.tags.get("profile", "default"), read_yaml(tree / PARAMS_FILE)
    if "dataset" not in params:  # a commit from before data sets were described
        return
    main = params["dataset"]
    is_main = model.dataset in (main, read_described(tree, main)["where"].get("offline"))
    if params["profile"] == profile and is_main:
        return
    for name, text in generated(tree, profile, None if is_main else model.dataset).items():
        data = parse_yaml(text, name)
        if "path" in data.get("where", {}):  # a relative path does not start from a temporary folder
            data["where"] = read_yaml(Path(name))["where"]
        write_text(tree / name, as_yaml(data))


def _compare(question: str, model: RegisteredModel, tree: Path) -> Check:
    """Compare the registered files and all that the version's dvc.lock names: data, figures, metrics, report."""
    made = tree / paths.MODELS / model.kind
    wanted = {"model.safetensors": model.tags.get("model.sha256"), "model.onnx": model.tags.get("onnx.sha256")}
    wanted |= {path.name: file_sha256(path) for path in sorted(model.files.iterdir())}
    other = [name for name, expected in wanted.items() if file_sha256(made / name) != expected]
    named = ""
    if found := _lock_with(model):
        rebuilt = _outs((tree / found.path).read_bytes())
        other += [path for path in found.outs if rebuilt.get(path) != found.outs[path]]
        named = f", and all {len(found.outs)} outputs in {found.path}"
    detail = f"different: {', '.join(other)}" if other else f"{', '.join(wanted)}{named} are the same"
    return Check(question, not other, detail)


def _git(*arguments: str) -> bytes:
    try:
        return git(Path.cwd(), *arguments)
    except GitError as error:
        raise UserError(
            f"git {' '.join(arguments[:2])} failed: {error}. Run from the root of a clone of the repository."
        ) from None


def _file_at(commit: str, path: str) -> bytes:
    """The bytes of a file in a commit; empty if the commit has no such file."""
    try:
        return git(Path.cwd(), "show", f"{commit}:{path}")
    except GitError:
        return b""


def _is_known(commit: str) -> bool:
    if not re.fullmatch("[0-9a-f]{40}", commit):
        return False
    try:
        git(Path.cwd(), "cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True
