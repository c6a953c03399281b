"""Requests that are batched or bypass FastAPI get the same answers as they would alone or through FastAPI."""

import asyncio
import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.testclient import TestClient

from deepdigits.serving.bodies import ClassifyBody
from deepdigits.serving.champions import Served
from deepdigits.serving.micro_batching import MOST, MicroBatcher
from deepdigits.serving.problems import Problem
from deepdigits.serving.reading import parse_json

RNG = np.random.default_rng(0)
VALID = RNG.integers(0, 256, (3, 28, 28)).tolist()


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(served: dict[str, Served], kind: str) -> None:
    network = served[kind].network
    assert isinstance(network, MicroBatcher)
    images = RNG.integers(0, 256, (64, 28, 28)).astype(np.uint8)
    alone = np.concatenate([network.answer(images[[row]]) for row in range(64)])
    for size in (2, 3, 5, 17, 64):
        beside = np.concatenate([network.answer(images[row : row + size]) for row in range(0, 64, size)])
        assert beside.tobytes() == alone.tobytes()


def test_waiting_requests_are_batched_and_each_gets_its_own_answer() -> None:
    sizes, first_may_finish = [], threading.Event()

    def answer(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        assert first_may_finish.wait(10)
        return images[:, 0, 0]

    async def ask() -> list[np.ndarray]:
        batcher = MicroBatcher(answer)
        requests = [np.full((1 + number % 3, 28, 28), number) for number in range(200)]
        tasks = [asyncio.create_task(batcher(images)) for images in requests]
        await asyncio.sleep(0.05)
        first_may_finish.set()
        return await asyncio.gather(*tasks)

    answers = asyncio.run(ask())
    assert [rows.tolist() for rows in answers] == [[number] * (1 + number % 3) for number in range(200)]
    assert len(sizes) < 10
    assert max(sizes) <= MOST


def test_a_failure_reaches_its_callers_and_later_requests_are_answered() -> None:
    def answer(images: np.ndarray) -> np.ndarray:
        if images.max() > 1:
            raise ValueError("broken")
        return images[:, 0, 0]

    async def ask() -> None:
        batcher = MicroBatcher(answer)
        with pytest.raises(ValueError, match="broken"):
            await batcher(np.full((1, 28, 28), 2))
        cancelled = asyncio.create_task(batcher(np.ones((1, 28, 28))))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert (await batcher(np.zeros((2, 28, 28)))).tolist() == [0, 0]

    asyncio.run(ask())


ODD = st.sampled_from([True, False, None, -1, 256, 1.0, 1.5, "1", "", [], {}, [1], {"1": 1}, 2**70])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A valid body in which one value, row, image or key has been replaced."""
    document = json.loads(json.dumps({"images": VALID}))
    image, row, pixel = draw(st.integers(0, 2)), draw(st.integers(0, 27)), draw(st.integers(0, 27))
    match draw(st.integers(0, 6)):
        case 0:
            document["images"][image][row][pixel] = draw(ODD)
        case 1:
            document["images"][image][row] = draw(ODD)
        case 2:
            document["images"][image] = draw(ODD)
        case 3:
            document["images"] = draw(ODD)
        case 4:
            document[draw(st.sampled_from(["more", "Images"]))] = draw(ODD)
        case 5:  # the total number of pixels stays right
            document["images"][image][row].append(document["images"][image][row - 1].pop())
        case 6:
            document = draw(ODD)
    return json.dumps(document).encode()


@given(bodies())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_fast_parser_accepts_what_the_schema_accepts(body: bytes) -> None:
    try:
        expected = np.array(ClassifyBody.model_validate_json(body).images)
    except ValidationError:
        with pytest.raises(Problem):
            parse_json(body)
    else:
        assert np.array_equal(parse_json(body), expected)


@pytest.mark.parametrize("query", ["", "?model=cnn", "?model=rnn", "?model=all"])
@pytest.mark.parametrize("images", [VALID, [], [[[300] * 28] * 28]], ids=["valid", "no images", "out of range"])
def test_the_fast_path_and_fastapi_give_the_same_response(client: TestClient, query: str, images: list[object]) -> None:
    body = json.dumps({"images": images})
    responses = [
        client.post(f"/v1/classify{query}", content=body, headers={"Content-Type": content_type})
        for content_type in ("application/json", "application/json; charset=utf-8")
    ]
    fast_path, fastapi = ((response.status_code, response.content, dict(response.headers)) for response in responses)
    assert fast_path == fastapi


def test_the_fast_path_is_the_one_taken(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepdigits.serving.app.read_images", None)
    body = json.dumps({"images": VALID})
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/classify?model=all", content=body, headers=headers).status_code == 200
    assert client.post("/v1/classify?model=all&model=cnn", content=body, headers=headers).status_code == 500
    assert 'status="500"' in client.get("/metrics").text
