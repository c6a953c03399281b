"""Without a network, the pipeline runs on its bundled digits, and nothing looks up or contacts any host."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from deepdigits.core.files import read_json
from deepdigits.tasks.catalogue import TASKS
from tests.conftest import ROOT, closed_port
from tests.pipeline.conftest import Workspace, environment, prepared_clone, run_pipeline
from tests.pipeline.servers import free_port, wait_for

MODELS = tuple(TASKS)
REFUSED = 3
# Setting any of these variables stops some library from phoning home.
OPT_OUT_VARIABLES = (
    "CI", "GITHUB_ACTIONS", "DO_NOT_TRACK", "PYTEST_CURRENT_TEST",
    "DVC_NO_ANALYTICS", "GX_ANALYTICS_ENABLED", "MLFLOW_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY",
)  # fmt: skip
# ONNX Runtime looks up its vendor's host when it is loaded, and again every few seconds.
SERVING_SECONDS = 12


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """All stages, run while no mirror answers, with their network calls traced to `repro.calls` beside the clone."""
    root = tmp_path_factory.mktemp("offline")
    workspace = prepared_clone(
        root / "clone", environment_with_home(root / "home"), mirrors=(closed_port(), closed_port())
    )
    return run_pipeline(workspace, *traced(root / "repro.calls"))


def environment_with_home(home: Path) -> dict[str, str]:
    home.mkdir()
    inherited = {key: value for key, value in environment().items() if key not in OPT_OUT_VARIABLES}
    return {**inherited, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}


def traced(trace: Path, *command: str) -> list[str]:
    """Wrap the command so that its network calls go to `trace`; unchanged if strace is missing or not permitted."""
    program = shutil.which("strace")
    if not program or subprocess.run([program, "-o", "/dev/null", "true"], check=False, capture_output=True).returncode:
        return [*command]
    network = "trace=connect,sendto,sendmsg,sendmmsg"
    return [program, "-f", "--seccomp-bpf", "-qq", "-yy", "-e", network, "-o", str(trace), *command]


def external_calls(trace: Path) -> list[str]:
    """Return calls to other machines and to a local resolver: `\\6mobile\\6events\\4data` is part of a host name."""
    if not trace.exists():
        pytest.skip("strace is missing or not permitted to trace")
    address = re.compile(r'htons\((\d+)\).*?(?:inet_addr\(|AF_INET6, )"([^"]+)"|->\[?([^]>]+?)\]?:(\d+)\]>')
    matches = [
        (line, match) for line in trace.read_text(errors="replace").splitlines() if (match := address.search(line))
    ]
    return [
        line
        for line, match in matches
        if "53" in (match[1], match[4]) or not ipaddress.ip_address(match[2] or match[3]).is_loopback
    ]


def identity_files(workspace: Workspace) -> list[str]:
    """Return the files in the home folder by which a library could recognise a user or a machine."""
    home = Path(workspace.environment["HOME"])
    id_like = re.compile(r"microsoft|telemetry|(device|user|installation)_?id", re.IGNORECASE)
    return [name for path in home.rglob("*") if path.is_file() and id_like.search(name := str(path.relative_to(home)))]


@contextmanager
def serving(workspace: Workspace, trace: Path) -> Iterator[str]:
    port = free_port()
    command = traced(trace, "deepdigits", "serve", "--port", str(port))
    server = subprocess.Popen(
        command, cwd=workspace.root, env=workspace.environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run(["kill", "--", f"-{server.pid}"], check=False)
        server.wait(60)


def test_offline_fallback_is_announced_and_keeps_its_own_name(offline: Workspace) -> None:
    assert "OFFLINE: the dataset is 'digits', not mnist" in offline.log
    assert read_json(offline.root / "reports/metrics/evaluate_cnn.json")["dataset.name"] == "digits"
    store = MlflowClient(f"sqlite:///{offline.root}/mlruns/mlflow.db")
    experiment = store.get_experiment_by_name("digits")
    assert {run.data.tags["dataset.name"] for run in store.search_runs([experiment.experiment_id])} == {"digits"}
    assert {model.name for model in store.search_registered_models()} == {f"digits-{model}" for model in MODELS}
    assert "This is not MNIST" in (offline.root / "reports/index.html").read_text()
    for model in MODELS:
        assert "not MNIST" in (offline.root / "models" / model / "model_card.md").read_text()


def test_offline_without_a_fallback_fails_and_says_what_to_set(offline: Workspace, tmp_path: Path) -> None:
    shutil.copy(offline.root / "params.yaml", tmp_path)
    text = (offline.root / "datasets/mnist.yaml").read_text().replace("offline: digits", "offline: null")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/mnist.yaml").write_text(text)
    env = {**environment(), "PYTHONPATH": f"{offline.root}:{offline.root / 'src'}"}
    env.pop("MNIST_MIRROR", None)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.ingest"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Set MNIST_MIRROR" in done.stderr
    assert not (tmp_path / "data").exists()


def test_pipeline_contacts_no_external_host(offline: Workspace) -> None:
    assert external_calls(offline.root.with_name("repro.calls")) == []
    assert identity_files(offline) == []


def test_promotion_and_serving_contact_no_external_host(offline: Workspace, tmp_path: Path) -> None:
    for name in ("cnn", "swap"):
        done = offline.run(*traced(tmp_path / name, "deepdigits", "promote", f"digits-{name}", "--dry-run"))
        assert done.returncode in (0, REFUSED), done.stdout + done.stderr
        assert external_calls(tmp_path / name) == []
    with serving(offline, tmp_path / "serve") as url:
        time.sleep(SERVING_SECONDS)
        urllib.request.urlopen(f"{url}/v1/models", timeout=60).close()
    assert external_calls(tmp_path / "serve") == []
    assert identity_files(offline) == []


@pytest.mark.parametrize("module", ["classifier", "generator", "images", "swap"])
def test_registered_model_code_leaves_no_device_id(module: str, tmp_path: Path) -> None:
    code = f"import runpy; runpy.run_path({str(ROOT / f'src/deepdigits/export/pyfunc/{module}.py')!r})"
    env = environment_with_home(tmp_path / "home") | {"MLFLOW_DISABLE_TELEMETRY": "true"}  # as in README's command
    subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, check=True, timeout=300)
    assert identity_files(Workspace(tmp_path, env)) == []
