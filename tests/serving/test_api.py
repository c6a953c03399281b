"""Every route, and every way to misuse it."""

import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from deepdigits.export.runtime import OnnxNetwork
from deepdigits.serving.app import create_app
from deepdigits.serving.bodies import MAX_BATCH, MAX_BODY
from deepdigits.serving.champions import KINDS, Served, champions_of
from deepdigits.serving.micro_batching import MicroBatcher
from deepdigits.serving.placing import place
from tests.serving.live import FixedWatch

RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 256, (3, 28, 28)).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("count", [1, 3, 40])
def test_classify_returns_what_the_network_predicts(client: TestClient, served: dict[str, Served], count: int) -> None:
    images = RNG.integers(0, 256, (count, 28, 28)).astype(np.uint8)
    response = client.post("/v1/classify?model=all", json={"images": images.tolist()})
    assert response.status_code == 200
    for result in response.json()["results"]:
        network = served[result["model"].removeprefix("mnist-")].network
        assert isinstance(network, MicroBatcher)
        expected = network.answer(images)
        assert result["version"] == 3
        assert np.allclose([answer["probabilities"] for answer in result["answers"]], expected, atol=1e-6)
        assert [answer["label"] for answer in result["answers"]] == expected.argmax(axis=1).tolist()
        assert [answer["class_name"] for answer in result["answers"]] == [str(row.argmax()) for row in expected]


def test_28_by_28_uploads_are_used_as_is(client: TestClient) -> None:
    drawings = np.where(np.pad(np.ones((20, 20)), 4) > 0, DIGITS, 0).astype(np.uint8)
    from_json = client.post("/v1/classify", json={"images": drawings.tolist()}).json()
    files = [("files", (f"{index}.png", png(image), "image/png")) for index, image in enumerate(drawings)]
    assert client.post("/v1/classify", files=files).json() == from_json


def test_a_large_jpeg_is_read_but_a_blank_one_cannot_be_classified(client: TestClient) -> None:
    paper = Image.new("RGB", (4032, 3024), "white")
    for path, drawn, status in (("/v1/classify", 0, 422), ("/v1/detect", 0, 200), ("/v1/classify", 1, 200)):
        if drawn:
            paper.paste("black", (2000, 1000, 2100, 2000))
        buffer = io.BytesIO()
        paper.save(buffer, "JPEG")
        response = client.post(path, files=[("files", ("a.jpg", buffer.getvalue(), "image/jpeg"))])
        assert response.status_code == status, response.text
        assert drawn or path != "/v1/classify" or "files.0: there is no ink" in response.json()["detail"]


def test_generate_gives_the_same_image_for_the_same_seed(client: TestClient) -> None:
    first = client.post("/v1/generate", json={"digits": [3, 4], "seeds": [7, 8]}).json()
    second = client.post("/v1/generate", json={"digits": [4], "seeds": [8]}).json()
    assert first["images"][1] == second["images"][0]
    assert np.array(first["images"]).shape == (2, 28, 28)
    sheet = client.post("/v1/generate?format=png", json={"digits": [3, 4], "seeds": [7, 8]})
    assert sheet.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sheet.content)))[:, :28], first["images"][0])


def test_models_are_listed_with_version_aliases_metrics_and_origin(client: TestClient) -> None:
    models = client.get("/v1/models").json()["models"]
    assert [model["name"] for model in models] == [f"mnist-{kind}" for kind in KINDS]
    assert models[0]["aliases"] == ["champion"]
    assert models[0]["metrics"] == {"test/accuracy": 0.1}
    assert models[0]["tags"]["git.commit"] == "c" * 40


def test_segment_and_detect_return_what_the_networks_predict(client: TestClient, served: dict[str, Served]) -> None:
    scenes = RNG.integers(0, 256, (3, 84, 84)).astype(np.uint8)
    detector, segmenter = (served[kind].network for kind in ("detector", "segmenter"))
    assert isinstance(detector, OnnxNetwork)
    assert isinstance(segmenter, OnnxNetwork)
    masks = client.post("/v1/segment", json={"images": scenes.tolist()}).json()
    assert masks["masks"] == segmenter.answer({"images": scenes})["semantic"].tolist()
    found = {  # made up, because an untrained network finds nothing
        "boxes": RNG.uniform(0, 40, (3, 5, 4)),
        "scores": RNG.uniform(0.1, 1, (3, 5, 10)),
        "shown": RNG.uniform(size=(3, 5)) < 0.5,
    }
    assert client.post("/v1/detect", json={"images": scenes.tolist()}).json()["scenes"] == [[], [], []]
    detector.answer = lambda _images: found  # type: ignore[method-assign]
    try:
        detected = client.post("/v1/detect", json={"images": scenes.tolist()}).json()
    finally:
        del detector.answer
    for row, digits in enumerate(detected["scenes"]):
        shown = found["shown"][row]
        boxes, scores = found["boxes"][row][shown], found["scores"][row][shown]
        best_first = np.argsort(-scores.max(axis=1))
        assert [digit["label"] for digit in digits] == scores[best_first].argmax(axis=1).tolist()
        assert np.allclose([digit["score"] for digit in digits], scores[best_first].max(axis=1), atol=1e-4)
        assert np.allclose([digit["box"] for digit in digits], boxes[best_first], atol=0.01)


def test_swap_returns_what_the_network_draws_for_one_digit_or_all(
    client: TestClient, served: dict[str, Served]
) -> None:
    images = RNG.integers(0, 256, (3, 28, 28)).astype(np.uint8)
    network = served["swap"].network
    assert isinstance(network, OnnxNetwork)
    all_digits = np.array(client.post("/v1/swap", json={"images": images.tolist()}).json()["swaps"])
    assert all_digits.shape == (3, 10, 28, 28)
    for digit in (0, 7):
        swapped = network.answer({"images": images, "digit": np.full(3, digit)})["swapped"]
        one_digit = client.post(f"/v1/swap?digit={digit}", json={"images": images.tolist()}).json()["swaps"]
        assert np.array_equal(one_digit, (swapped[:, None] * 255).round())
        assert np.array_equal(one_digit, all_digits[:, digit : digit + 1])
    sheet = client.post("/v1/swap?format=png", json={"images": images.tolist()})
    assert Image.open(io.BytesIO(sheet.content)).size == (280, 84)
    refused = client.post("/v1/swap?digit=10", json={"images": images.tolist()})
    assert refused.status_code == 422
    assert "digit" in refused.json()["detail"]


def test_boxes_are_in_pixels_of_the_uploaded_picture() -> None:
    wide = np.zeros((100, 200), np.uint8)
    placed = place(wide, 84, 200)
    assert placed.image.shape == (84, 84)
    assert placed.top == 21
    assert placed.back(np.array([42, 42, 21, 8.4])) == [100, 50, 50, 20]


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/v1/classify", {}, 422, "images: Field required"),
        ("/v1/classify", {"images": []}, 422, "at least 1 item"),
        ("/v1/classify", {"images": [[[1]]]}, 422, "images.0.0: List should have at least 28"),
        (
            "/v1/classify",
            {"images": [[[256] * 28] * 28]},
            422,
            "images.0.0.0: Input should be less",
        ),
        ("/v1/classify", {"images": [[["1"] * 28] * 28]}, 422, "valid integer"),
        ("/v1/classify", {"images": [[[0] * 28] * 28], "model": "rnn"}, 422, "model: Extra inputs"),
        ("/v1/classify", {"images": [[[0] * 28] * 28] * (MAX_BATCH + 1)}, 422, "at most 256"),
        ("/v1/classify?model=gan", {"images": [[[0] * 28] * 28]}, 422, "query.model: Input should be 'cnn'"),
        ("/v1/detect", {"images": [[[0] * 28] * 28]}, 422, "images.0.0: List should have at least 84"),
        ("/v1/segment", {"images": [[[0] * 84] * 84] * 33}, 422, "at most 32"),
        ("/v1/generate", {"digits": [10]}, 422, "digits.0: there is no class 10; labels are 0 to 9"),
        ("/v1/generate", {"digits": [1], "seeds": [-1]}, 422, "seeds.0"),
        ("/v1/generate", {"digits": [1], "seeds": [1, 2]}, 422, "2 seeds for 1 digits"),
        ("/v1/generate?format=gif", {"digits": [1]}, 422, "query.format"),
        ("/v1/nothing", {}, 404, "See /docs"),
        ("/healthz", {}, 405, "Method Not Allowed"),
    ],
)
def test_invalid_input_gets_a_problem_that_says_what_is_allowed(
    client: TestClient, path: str, body: dict[str, object], status: int, detail: str
) -> None:
    refused = client.post(path, json=body)
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["status"] == status
    assert detail in problem["detail"]


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b"hello", "text/plain", 415),
        (b"hello", "", 415),
        (b"no boundary", "multipart/form-data", 400),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 422),
        (b"--x\r\n" * 100_000, "multipart/form-data; boundary=x", 400),
    ],
)
def test_malformed_bodies_get_a_problem(client: TestClient, content: bytes, content_type: str, status: int) -> None:
    refused = client.post("/v1/classify", content=content, headers={"Content-Type": content_type})
    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json"


def test_uploads_that_are_not_pictures_are_named(client: TestClient) -> None:
    files = [("files", ("a.png", png(DIGITS[0]))), ("files", ("b.png", b"nonsense"))]
    detail = client.post("/v1/classify", files=files).json()["detail"]
    assert "files.1: the upload is not a readable PNG or JPEG" in detail
    assert client.post("/v1/classify", files=[("file", ("a.png", png(DIGITS[0])))]).status_code == 422
    assert client.post("/v1/classify", data={"files": "text"}, files=[("x", b"")]).status_code in (400, 422)


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused_with_or_without_a_declared_length(client: TestClient, declared: bool) -> None:
    body = b"x" * (MAX_BODY + 1)
    content = body if declared else (body[start : start + 65536] for start in range(0, len(body), 65536))
    refused = client.post("/v1/classify", content=content, headers={"Content-Type": "application/json"})
    assert refused.status_code == 413
    assert refused.headers["content-type"] == "application/problem+json"


def test_without_champions_the_server_is_alive_but_not_ready() -> None:
    with TestClient(create_app(FixedWatch(None, 1), 60), "http://localhost") as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        refused = client.post("/v1/classify", json={"images": DIGITS.tolist()})
        assert (refused.status_code, refused.json()["title"]) == (503, "Service Unavailable")
        assert "deepdigits promote" in refused.json()["detail"]


def test_requests_are_counted_and_unknown_paths_share_one_label(client: TestClient) -> None:
    client.post("/v1/classify", json={"images": DIGITS.tolist()})
    for number in range(3):
        client.get(f"/secret/{number}")
    text = client.get("/metrics").text
    assert 'deepdigits_requests_total{method="POST",path="/v1/classify",status="200"}' in text
    assert 'deepdigits_model_version{model="mnist-cnn"} 3.0' in text
    assert "secret" not in text


def test_the_page_loads_nothing_external(client: TestClient) -> None:
    page = client.get("/").text
    assert "http://" not in page
    assert "https://" not in page


def test_the_openapi_document_describes_both_body_types(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/classify"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}


def test_champions_come_from_one_dataset_preferably_mnist() -> None:
    aliases = {
        "digits-cnn": {"champion": 1},
        "mnist-cnn": {"champion": 4, "candidate": 5},
        "mnist-rnn": {"candidate": 1},
    }
    assert champions_of(aliases, None) == {"cnn": ("mnist-cnn", 4)}
    assert champions_of(aliases, "digits") == {"cnn": ("digits-cnn", 1)}
    assert champions_of({"digits-gan": {"champion": 2}}, None) == {"gan": ("digits-gan", 2)}
    assert champions_of({}, None) == {}
