"""`deepdigits serve` as a process: champions from a real store, switched under load, and the page in a real browser."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from deepdigits.core.files import read_json
from deepdigits.serving.champions import KINDS
from tests.browsing import browsing
from tests.pipeline.conftest import Workspace
from tests.pipeline.servers import free_port, wait_for


@pytest.fixture(scope="module")
def champions(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The finished pipeline with all models promoted and another version of the CNN as candidate."""
    workspace = smoke.copy(tmp_path_factory.mktemp("serving") / "clone")
    workspace.environment["PYTHONPATH"] = "src:."
    dataset = read_json(workspace.root / "data/processed/manifest.json")["name"]
    for kind in KINDS:
        done = workspace.run("deepdigits", "promote", f"{dataset}-{kind}")
        assert done.returncode == 0, done.stdout
    done = workspace.python("-m", "tests.pipeline.changed_model", "cnn", "0.3")
    assert done.returncode == 0, done.stderr
    return workspace


@pytest.fixture(scope="module")
def server(champions: Workspace) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = ["deepdigits", "serve", "--port", str(port), "--refresh-seconds", "0.5"]
    process = subprocess.Popen(
        command, cwd=champions.root, env=champions.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", process)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def served_versions(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as answer:
        return {model["name"].rpartition("-")[2]: model["version"] for model in json.load(answer)["models"]}


def test_champions_reproduce_the_answers_of_pytorch(
    server: tuple[subprocess.Popen[bytes], str], smoke: Workspace
) -> None:
    _, url = server
    assert served_versions(url) == dict.fromkeys(KINDS, 1)
    for kind in ("cnn", "rnn"):
        golden = np.load(smoke.root / f"models/{kind}/golden.npz")
        (result,) = post(f"{url}/v1/classify?model={kind}", {"images": golden["in_images"].tolist()})["results"]
        probabilities = [answer["probabilities"] for answer in result["answers"]]
        assert np.abs(np.array(probabilities) - golden["out_probabilities"]).max() < 1e-5


@pytest.fixture
def page(server: tuple[subprocess.Popen[bytes], str]) -> Iterator[Page]:
    with browsing(lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort()) as page:
        page.goto(server[1])
        yield page


STROKES = {1: [(150, 50), (150, 250)], 7: [(80, 60), (215, 60), (130, 250)]}


@pytest.mark.parametrize("digit", STROKES)
def test_digit_drawn_with_the_mouse_is_read_by_both_classifiers(page: Page, digit: int) -> None:
    box = page.locator("#pad").bounding_box()
    assert box
    (x, y), *later_points = STROKES[digit]
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.mouse.down()
    for x, y in later_points:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=12)
    page.mouse.up()
    page.wait_for_selector(f'#pad[aria-label="Drawing area, read as {digit} and {digit}"]', timeout=10_000)
    for kind in ("cnn", "rnn"):
        shares = page.locator(f"#reader-{kind} .row > span:last-child").all_inner_texts()
        numbers = [float(share.removesuffix(" %")) for share in shares]
        assert numbers.index(max(numbers)) == digit
        assert sum(numbers) == pytest.approx(100, abs=1)
    page.get_by_role("button", name="Clear", exact=True).click()
    assert page.locator("#reader-cnn .answer").inner_text() == "\N{EN DASH}"


def test_a_digit_can_be_drawn_by_keyboard(page: Page) -> None:
    page.locator("#pad").focus()
    for _ in range(10):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.wait_for_selector('#pad[aria-label="Drawing area, read as 1 and 1"]', timeout=10_000)
    page.keyboard.press("c")
    assert page.locator("#pad").get_attribute("aria-label") == "Drawing area, empty"


def test_a_touch_leaves_ink(page: Page) -> None:
    box = page.locator("#pad").bounding_box()
    assert box
    page.touchscreen.tap(box["x"] + 150, box["y"] + 150)
    page.wait_for_function("document.querySelector('#pad').getAttribute('aria-label').includes('read as')")


def test_a_scene_is_searched_as_it_is_drawn(page: Page) -> None:
    """The drawing is sent and the answer is shown and cleared. How good the answer is, the evaluation measures."""
    scene = page.locator("#scene")
    box = scene.bounding_box()
    assert box
    with page.expect_response("**/v1/segment") as response:
        page.mouse.move(box["x"] + 60, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 60, box["y"] + 150, steps=8)
        page.mouse.up()
    assert np.array(response.value.json()["masks"]).shape == (1, 84, 84)
    page.wait_for_function("/found/.test(document.querySelector('#scene').getAttribute('aria-label'))")
    assert "ound" in page.locator("#scene-status").inner_text()
    scene.focus()
    page.keyboard.press("c")
    assert scene.get_attribute("aria-label") == "Scene, empty"
    assert page.locator("#pad").get_attribute("aria-label") == "Drawing area, empty"


def test_a_drawing_is_converted_to_all_ten_digits(page: Page) -> None:
    pad = page.locator("#pad").bounding_box()
    assert pad
    page.mouse.move(pad["x"] + 150, pad["y"] + 60)
    page.mouse.down()
    page.mouse.move(pad["x"] + 140, pad["y"] + 230, steps=8)
    page.mouse.up()
    page.get_by_role("button", name="Swap its identity").click()
    sheet = page.get_by_alt_text("In the handwriting of your drawing")
    sheet.wait_for()
    assert sheet.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [280, 28]


def test_a_digit_is_drawn_on_request(page: Page) -> None:
    page.get_by_role("button", name="Draw 3", exact=True).click()
    picture = page.get_by_alt_text("Ten generated images: 3")
    picture.wait_for(timeout=10_000)
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 280


PROMOTE_DAMAGED = """
import sys
from pathlib import Path
import mlflow
from deepdigits.ops.tracking import open_store
client, (name, version) = open_store(), sys.argv[1:]
logged = client.get_logged_model(client.get_model_version(name, version).source.rpartition("/")[2])
(golden,) = Path(mlflow.artifacts.download_artifacts(logged.artifact_location)).rglob("golden.npz")
golden.chmod(0o644)
golden.write_bytes(golden.read_bytes()[:-50])
client.set_registered_model_alias(name, "champion", version)
"""
MOVE_ALIAS = (
    "import sys; from deepdigits.ops.tracking import open_store; open_store().set_registered_model_alias(*sys.argv[1:])"
)


def broken_champions(url: str) -> list[tuple[str, int, int]]:
    with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
        return [(entry["name"], entry["version"], entry["served"]) for entry in json.load(answer)["broken"]]


def test_damaged_new_champion_is_named_and_its_predecessor_keeps_serving(
    server: tuple[subprocess.Popen[bytes], str], champions: Workspace
) -> None:
    _, url = server
    name = read_json(champions.root / "data/processed/manifest.json")["name"] + "-rnn"
    done = champions.python("-m", "tests.pipeline.changed_model", "rnn", "0.4")
    assert done.returncode == 0, done.stderr
    done = champions.python("-c", PROMOTE_DAMAGED, name, "2")
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 180
    while not broken_champions(url) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert broken_champions(url) == [(name, 2, 1)]
    assert served_versions(url)["rnn"] == 1
    image = np.load(champions.root / "models/cnn/golden.npz")["in_images"][:1].tolist()
    assert post(f"{url}/v1/classify?model=all", {"images": image})["results"][1]["version"] == 1
    done = champions.python("-c", MOVE_ALIAS, name, "champion", "1")
    assert done.returncode == 0, done.stderr
    while broken_champions(url) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert broken_champions(url) == []


def test_new_champion_is_served_without_losing_a_request(
    server: tuple[subprocess.Popen[bytes], str], champions: Workspace
) -> None:
    """Must run after the other tests of this server: it moves the alias and stops the server mid-request."""
    process, url = server
    golden = np.load(champions.root / "models/cnn/golden.npz")
    body = {"images": golden["in_images"][:1].tolist()}
    stop, versions, failures = threading.Event(), [], []

    def classify_until_stopped() -> None:
        while not stop.is_set():
            try:
                versions.append(post(f"{url}/v1/classify", body)["results"][0]["version"])
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=classify_until_stopped, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    dataset = read_json(champions.root / "data/processed/manifest.json")["name"]
    done = champions.python("-c", MOVE_ALIAS, f"{dataset}-cnn", "champion", "2")
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 120
    while (not versions or versions[-1] != 2) and time.monotonic() < deadline:
        time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(versions) == {1, 2}
    assert served_versions(url)["cnn"] == 2

    large_body = {"images": body["images"] * 256}
    answers: list[object] = []
    large_request = threading.Thread(
        target=lambda: answers.extend(post(f"{url}/v1/classify", large_body)["results"][0]["answers"])
    )
    large_request.start()
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    large_request.join()
    assert process.wait(30) == 0
    assert len(answers) == 256, "a request begun before shutdown must be answered"
    assert process.stdout
    assert "Traceback" not in process.stdout.read().decode()


@pytest.mark.parametrize("cause", ["store", "port"])
def test_startup_failure_gives_one_message(cause: str, champions: Workspace) -> None:
    env = dict(champions.environment)
    arguments = ["deepdigits", "serve", "--port", str(free_port())]
    if cause == "store":
        (champions.root / "damaged.db").write_bytes(b"this is no database" * 100)
        env["MLFLOW_TRACKING_URI"] = "sqlite:///damaged.db"
        done = replace(champions, environment=env).run(*arguments)
        assert "The MLflow store" in done.stderr
    else:
        listener = subprocess.Popen(
            [sys.executable, "-m", "http.server", arguments[-1], "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{arguments[-1]}", listener)
            done = replace(champions, environment=env).run(*arguments)
        finally:
            listener.kill()
            listener.wait()
        assert "is in use. Choose another one" in " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
