"""The API and the page with champions that know other classes than digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from httpx import Response
from PIL import Image
from playwright.sync_api import Page, Route
from starlette.testclient import TestClient

from deepdigits.core.files import write_bytes
from deepdigits.data.own.preparing import Input, prepare
from deepdigits.export.onnx import describe_in_file, export_onnx
from deepdigits.serving.app import create_app
from deepdigits.serving.champions import opened
from deepdigits.serving.limits import LOCAL
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.tasks.cnn.task import ExportedCnn
from deepdigits.tasks.gan.config import GanNet
from deepdigits.tasks.gan.network import Generator
from deepdigits.tasks.gan.task import ExportedGenerator
from tests.browsing import browsing
from tests.serving.live import FixedWatch
from tests.unit.own_sources import encoded, tone, wav

NAMES = ("ring shape", "седем", "<b>bold</b>")
IMAGE = np.random.default_rng(3).integers(0, 256, (1, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """ONNX files by kind, without metadata."""
    torch.manual_seed(0)
    gan = GanNet(noise_dim=8, generator_widths=(8, 4), discriminator_widths=(4,) * 4, classes=len(NAMES))
    cnn = ExportedCnn(Cnn(CnnNet(widths=(4, 4, 4, 8, 8), classes=len(NAMES))).eval())
    generator = ExportedGenerator(Generator(gan).eval())
    noise = {"noise": np.zeros((2, 8), np.float32), "digit": np.arange(2)}
    return {"cnn": export_onnx(cnn, {"images": IMAGE}), "gan": export_onnx(generator, noise)}


Serve = Callable[[Input | None], TestClient]


@pytest.fixture
def serve(networks: dict[str, bytes], tmp_path: Path) -> Iterator[Serve]:
    """A server of networks that were trained on files of one sort."""
    with ExitStack() as stack:

        def served(given: Input | None) -> TestClient:
            watch = FixedWatch("shapes", 1)
            champions = {}
            for kind, data in networks.items():
                path = tmp_path / f"{kind}.onnx"
                write_bytes(path, describe_in_file(data, "0" * 64, NAMES, given))
                champions[kind] = opened(f"shapes-{kind}", 1, path, 1, {}, {})
            watch.current = champions
            app = create_app(watch, 60, [*LOCAL, "testserver"])
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield served


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve("bright pictures")


def png(image: np.ndarray) -> bytes:
    return encoded(Image.fromarray(image))


def sound(seconds: float = 0.5) -> bytes:
    return wav(tone(700, seconds))


def upload(client: TestClient, data: bytes) -> Response:
    return client.post("/v1/classify", files={"files": ("file", data, "application/octet-stream")})


def test_a_file_without_names_has_those_of_the_digits(networks: dict[str, bytes], tmp_path: Path) -> None:
    write_bytes(tmp_path / "cnn.onnx", networks["cnn"])
    served = opened("mnist-cnn", 1, tmp_path / "cnn.onnx", 1, {}, {})
    assert (served.classes, served.input) == (tuple("0123456789"), "digits")


def test_answers_name_the_class(client: TestClient) -> None:
    (result,) = client.post("/v1/classify", json={"images": IMAGE.tolist()}).json()["results"]
    (answer,) = result["answers"]
    assert len(answer["probabilities"]) == len(NAMES)
    assert answer["class_name"] == NAMES[answer["label"]]
    models = client.get("/v1/models").json()["models"]
    assert {(tuple(model["classes"]), model["input"]) for model in models} == {(NAMES, "bright pictures")}


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ("bright pictures", png(IMAGE[0])),
        ("bright pictures", png(np.tile(IMAGE[0], (3, 5)))),
        ("dark pictures", png(np.tile(IMAGE[0], (5, 3)))),
        ("recordings", sound()),
    ],
)
def test_uploads_are_prepared_as_the_training_data_were(serve: Serve, given: Input, data: bytes) -> None:
    client = serve(given)
    seen = prepare(data, given)
    assert upload(client, data).json() == client.post("/v1/classify", json={"images": [seen.tolist()]}).json()


@pytest.mark.parametrize(
    ("given", "data", "reason"),
    [
        ("bright pictures", sound(), "files.0: it is not a PNG or JPEG"),
        ("bright pictures", png(IMAGE[0])[:300], "files.0: it cannot be read"),
        ("recordings", png(IMAGE[0]), "files.0: it is not a WAV file"),
        ("recordings", sound(seconds=61), "expected up to 60 s"),
    ],
)
def test_files_that_cannot_be_read_are_named(serve: Serve, given: Input, data: bytes, reason: str) -> None:
    answer = upload(serve(given), data)
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]


def test_other_formats_are_refused_although_data_sets_may_have_them(client: TestClient) -> None:
    assert upload(client, encoded(Image.fromarray(IMAGE[0]), "GIF")).status_code == 422


def test_uploads_are_refused_if_the_version_does_not_say_how_to_prepare_them(serve: Serve) -> None:
    answer = upload(serve(None), png(IMAGE[0]))
    assert answer.status_code == 415
    assert "28 x 28 pixels as JSON" in answer.json()["detail"]


def test_only_classes_of_the_generator_are_drawn(client: TestClient) -> None:
    assert len(client.post("/v1/generate", json={"digits": [2]}).json()["images"]) == 1
    refused = client.post("/v1/generate", json={"digits": [0, 3]})
    assert refused.status_code == 422
    assert "digits.1: there is no class 3; labels are 0 to 2" in refused.json()["detail"]


@contextmanager
def page_of(client: TestClient) -> Iterator[Page]:
    """The page in a real browser. It is on localhost, since only secure pages get a microphone; the test's client
    answers its requests."""

    def answer(route: Route) -> None:
        request = route.request
        headers = {key: value for key, value in request.headers.items() if key in ("content-type", "accept")}
        path = request.url.removeprefix("http://localhost")
        found = client.request(request.method, path, content=request.post_data_buffer or b"", headers=headers)
        route.fulfill(status=found.status_code, headers=dict(found.headers), body=found.content)

    with browsing(answer) as page:
        page.goto("http://localhost/")
        yield page


def test_the_page_shows_class_names_and_what_the_champions_can_do(client: TestClient) -> None:
    with page_of(client) as page:
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
        for hidden in ("#scene", "#record"):
            assert not page.locator(hidden).is_visible()
        page.get_by_role("button", name="Draw седем").click()
        page.get_by_alt_text("Ten generated images: седем").wait_for(timeout=10_000)
        page.locator("#file").set_input_files({"name": "one.png", "mimeType": "image/png", "buffer": png(IMAGE[0])})
        page.get_by_text("one.png, read as").wait_for(timeout=10_000)
        page.locator("#file").set_input_files({"name": "bad.png", "mimeType": "image/png", "buffer": sound()})
        page.get_by_text("it is not a PNG or JPEG").wait_for(timeout=10_000)


def test_the_page_records_sound(serve: Serve) -> None:
    with page_of(serve("recordings")) as page:
        page.get_by_role("button", name="Record").click()
        page.wait_for_timeout(1500)
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("recording.wav, read as").wait_for(timeout=10_000)
        assert page.locator("#reader-cnn .answer").inner_text() in NAMES
        assert not page.locator("#pad").is_visible()
        page.locator("#file").set_input_files({"name": "one.wav", "mimeType": "audio/wav", "buffer": sound()})
        page.get_by_text("one.wav, read as").wait_for(timeout=10_000)
