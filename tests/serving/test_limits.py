"""Requests that ask for too much, come from another site or name another host; and docs that need no network."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from benchmarks.attacks import png, progressive_jpeg
from deepdigits.core.errors import UserError
from deepdigits.core.files import write_bytes
from deepdigits.export.onnx import export_onnx
from deepdigits.export.runtime import OnnxNetwork
from deepdigits.serving.app import create_app
from deepdigits.serving.champions import side_of
from deepdigits.tasks.segmenter.config import SegmenterNet
from deepdigits.tasks.segmenter.network import Segmenter
from deepdigits.tasks.segmenter.task import ExportedSegmenter
from tests.serving.live import FixedWatch, served_from

RNG = np.random.default_rng(0)
IMAGES = {"images": RNG.integers(0, 256, (3, 28, 28)).tolist()}


@pytest.mark.parametrize("length", ["1" * 5001, "0" * 5000 + "2", "9" * 20, "-1", "2, 2"])
def test_an_invalid_content_length_is_refused(client: TestClient, length: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": length}
    refused = client.post("/v1/classify", content=b"{}", headers=headers)
    assert (refused.status_code, refused.json()["detail"]) == (400, "Content-Length is not a valid length.")


def test_generate_accepts_only_json_which_other_sites_cannot_send_without_a_preflight(client: TestClient) -> None:
    for content_type in ("text/plain", "", "multipart/form-data; boundary=x"):
        refused = client.post("/v1/generate", content=b'{"digits": [1]}', headers={"Content-Type": content_type})
        assert refused.status_code == 415
    assert client.post("/v1/generate", json={"digits": [1]}).status_code == 200


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_host_names_of_this_machine_are_accepted(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200
    assert client.post("/v1/classify", json=IMAGES, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8000", "", "["])
def test_other_hosts_are_refused_except_in_health_checks(client: TestClient, host: str) -> None:
    headers = {"Host": host}
    for refused in (client.get("/", headers=headers), client.post("/v1/classify", json=IMAGES, headers=headers)):
        assert refused.status_code == 400
        assert refused.headers["content-type"] == "application/problem+json"
        assert "--allowed-host" in refused.json()["detail"]
    assert client.get("/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("allowed", "host", "status"), [("digits.example", "digits.example:80", 503), ("*", "any", 503), ("a", "b", 400)]
)
def test_a_host_can_be_allowed(allowed: str, host: str, status: int) -> None:
    with TestClient(create_app(FixedWatch(None, 1), 60, [allowed]), f"http://{host}") as client:
        assert client.post("/v1/classify", json=IMAGES).status_code == status


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_checks_answer_head_requests(client: TestClient, path: str) -> None:
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")


def test_every_route_is_counted_under_its_own_name(client: TestClient) -> None:
    documented = client.get("/openapi.json").json()["paths"]
    routes = [(method.upper(), path) for path, methods in documented.items() for method in methods]
    for method, path in routes:
        client.request(method, path)
    text = client.get("/metrics").text
    assert [route for route in routes if 'method="{}",path="{}"'.format(*route) not in text] == []


def test_the_documentation_loads_nothing_external(client: TestClient) -> None:
    page = client.get("/docs").text
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith("/")
        assert client.get(address).status_code == 200
    assert "https://" not in page
    assert "http://" not in page


@pytest.mark.parametrize(
    ("path", "files", "status", "detail"),
    [
        ("/v1/classify", [progressive_jpeg(200)], 422, "files.0: the JPEG has more than 100 scans"),
        ("/v1/detect", [png(20, 20), png(4_000_000, 1)], 422, "files.1: the picture is 4000000 x 1"),
        ("/v1/swap", [png(2000, 2000)] * 30, 413, "120,000,000 pixels together"),
    ],
    ids=["too many scans", "too long a side", "too many pixels"],
)
def test_pictures_that_are_costly_to_decode_are_refused_undecoded(
    client: TestClient, path: str, files: list[bytes], status: int, detail: str
) -> None:
    refused = client.post(path, files=[("files", ("a", data)) for data in files])
    assert refused.status_code == status
    assert detail in refused.json()["detail"]


def test_an_ordinary_progressive_jpeg_is_read(client: TestClient) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (300, 200, 3)).astype(np.uint8)).save(buffer, "JPEG", progressive=True)
    assert client.post("/v1/detect", files=[("files", ("a.jpg", buffer.getvalue()))]).status_code == 200


def test_a_network_for_another_scene_size_gets_scenes_of_that_size(tmp_path: Path) -> None:
    module = ExportedSegmenter(Segmenter(SegmenterNet(widths=(8, 8, 8))).eval())
    write_bytes(tmp_path / "segmenter.onnx", export_onnx(module, {"images": np.zeros((2, 96, 96), np.uint8)}))
    watch = FixedWatch("mnist", 1)
    watch.current = served_from(tmp_path)
    with TestClient(create_app(watch, 60), "http://localhost") as client:
        upload = client.post("/v1/segment", files=[("files", ("a.png", png(50, 30)))])
        assert np.array(upload.json()["masks"]).shape == (1, 96, 96)
        scene = {"images": np.zeros((1, 96, 96), int).tolist()}
        assert np.array(client.post("/v1/segment", json=scene).json()["masks"]).shape == (1, 96, 96)
        refused = client.post("/v1/segment", json={"images": [[[0] * 84] * 84]})
        assert "at least 96 items" in refused.json()["detail"]


def test_a_network_that_does_not_take_square_images_is_not_served(networks: Path) -> None:
    with pytest.raises(UserError, match="does not take square images"):
        side_of(OnnxNetwork(networks / "gan.onnx"))
