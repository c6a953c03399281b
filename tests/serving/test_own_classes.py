"""The API and the page with champions that know other classes than digits."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from deepdigits.core.files import write_bytes
from deepdigits.export.onnx import describe_in_file, export_onnx
from deepdigits.serving.app import create_app
from deepdigits.serving.champions import Served, open_network
from deepdigits.serving.limits import LOCAL
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.tasks.cnn.task import ExportedCnn
from deepdigits.tasks.gan.config import GanNet
from deepdigits.tasks.gan.network import Generator
from deepdigits.tasks.gan.task import ExportedGenerator
from tests.browsing import browsing
from tests.serving.live import FixedWatch

NAMES = ("ring shape", "седем", "<b>bold</b>")
IMAGE = np.random.default_rng(3).integers(0, 256, (1, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def champions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    torch.manual_seed(0)
    folder: Path = tmp_path_factory.mktemp("shapes")
    gan = GanNet(noise_dim=8, generator_widths=(8, 4), discriminator_widths=(4,) * 4, classes=len(NAMES))
    cnn = ExportedCnn(Cnn(CnnNet(widths=(4, 4, 4, 8, 8), classes=len(NAMES))).eval())
    generator = ExportedGenerator(Generator(gan).eval())
    noise = {"noise": np.zeros((2, 8), np.float32), "digit": np.arange(2)}
    found = {}
    for kind, module, inputs in (("cnn", cnn, {"images": IMAGE}), ("gan", generator, noise)):
        path = folder / f"{kind}.onnx"
        write_bytes(path, describe_in_file(export_onnx(module, inputs), "0" * 64, NAMES))
        found[kind] = Served(f"shapes-{kind}", kind, 1, {}, {}, *open_network(kind, path, 1))
    return found


@pytest.fixture(scope="module")
def shapes(champions: dict[str, Served]) -> ASGIApp:
    watch = FixedWatch("shapes", 1)
    watch.current = champions
    return create_app(watch, 60, [*LOCAL, "testserver"])


@pytest.fixture
def client(shapes: ASGIApp) -> Iterator[TestClient]:
    with TestClient(shapes, raise_server_exceptions=False) as client:
        yield client


def test_a_file_without_names_has_those_of_the_digits(networks: Path) -> None:
    assert open_network("cnn", networks / "cnn.onnx", 1)[1] == tuple("0123456789")


def test_answers_name_the_class(client: TestClient) -> None:
    (result,) = client.post("/v1/classify", json={"images": IMAGE.tolist()}).json()["results"]
    (answer,) = result["answers"]
    assert len(answer["probabilities"]) == len(NAMES)
    assert answer["class_name"] == NAMES[answer["label"]]
    models = client.get("/v1/models").json()["models"]
    assert {(tuple(model["classes"]), model["uploads"]) for model in models} == {(NAMES, False)}


def test_an_upload_is_refused_instead_of_being_prepared_as_a_digit(client: TestClient) -> None:
    buffer = io.BytesIO()
    Image.fromarray(IMAGE[0]).save(buffer, "PNG")
    answer = client.post("/v1/classify", files={"files": ("a.png", buffer.getvalue(), "image/png")})
    assert answer.status_code == 415
    assert "28 x 28 pixels as JSON" in answer.json()["detail"]


def test_only_classes_of_the_generator_are_drawn(client: TestClient) -> None:
    assert len(client.post("/v1/generate", json={"digits": [2]}).json()["images"]) == 1
    refused = client.post("/v1/generate", json={"digits": [0, 3]})
    assert refused.status_code == 422
    assert "digits.1: there is no class 3; labels are 0 to 2" in refused.json()["detail"]


def test_the_page_shows_class_names_and_what_the_champions_can_do(client: TestClient) -> None:
    """A real browser draws on the page; the test's client answers its requests."""

    def answer(route: Route) -> None:
        request = route.request
        headers = {key: value for key, value in request.headers.items() if key in ("content-type", "accept")}
        path = request.url.removeprefix("http://testserver")
        found = client.request(request.method, path, content=request.post_data_buffer or b"", headers=headers)
        route.fulfill(status=found.status_code, headers=dict(found.headers), body=found.content)

    with browsing(answer) as page:
        page.goto("http://testserver/")
        box = page.locator("#pad").bounding_box()
        assert box
        page.mouse.move(box["x"] + 60, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 200, box["y"] + 240, steps=5)
        page.mouse.up()
        page.wait_for_selector("#pad[aria-label^='Drawing area, read as']", timeout=10_000)
        assert page.locator("#reader-cnn .answer").inner_text() in NAMES
        assert page.locator("#reader-cnn .row > span:first-child").all_inner_texts() == list(NAMES)
        assert page.locator("#reader-rnn").count() == 0
        assert not page.locator("#scene").is_visible()
        page.get_by_role("button", name="Draw седем").click()
        page.get_by_alt_text("Ten generated images: седем").wait_for(timeout=10_000)
