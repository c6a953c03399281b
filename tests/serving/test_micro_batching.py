"""Requests answered together, and on the short way past FastAPI, are answered as each alone and by FastAPI."""

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
RIGHT = RNG.integers(0, 256, (3, 28, 28)).tolist()


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_an_answer_does_not_depend_on_the_images_beside_it(served: dict[str, Served], kind: str) -> None:
    network = served[kind].network
    assert isinstance(network, MicroBatcher)
    images = RNG.integers(0, 256, (64, 28, 28)).astype(np.uint8)
    alone = np.concatenate([network.answer(images[[row]]) for row in range(64)])
    for size in (2, 3, 5, 17, 64):
        beside = np.concatenate([network.answer(images[row : row + size]) for row in range(0, 64, size)])
        assert beside.tobytes() == alone.tobytes()


def test_requests_that_wait_are_answered_in_few_runs_and_each_gets_its_own() -> None:
    sizes, first_may_end = [], threading.Event()

    def answer(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        assert first_may_end.wait(10)
        return images[:, 0, 0]

    async def ask() -> list[np.ndarray]:
        together = MicroBatcher(answer)
        requests = [np.full((1 + number % 3, 28, 28), number) for number in range(200)]
        asked = [asyncio.create_task(together(images)) for images in requests]
        await asyncio.sleep(0.05)
        first_may_end.set()
        return await asyncio.gather(*asked)

    answers = asyncio.run(ask())
    assert [found.tolist() for found in answers] == [[number] * (1 + number % 3) for number in range(200)]
    assert len(sizes) < 10
    assert max(sizes) <= MOST


def test_a_failure_reaches_those_who_asked_and_the_next_are_answered() -> None:
    def answer(images: np.ndarray) -> np.ndarray:
        if images.max() > 1:
            raise ValueError("broken")
        return images[:, 0, 0]

    async def ask() -> None:
        together = MicroBatcher(answer)
        with pytest.raises(ValueError, match="broken"):
            await together(np.full((1, 28, 28), 2))
        gone = asyncio.create_task(together(np.ones((1, 28, 28))))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await together(np.zeros((2, 28, 28)))).tolist() == [0, 0]

    asyncio.run(ask())


ODD = st.sampled_from([True, False, None, -1, 256, 1.0, 1.5, "1", "", [], {}, [1], {"1": 1}, 2**70])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A right body in which one value, row, image or key is another."""
    document = json.loads(json.dumps({"images": RIGHT}))
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
        case 5:  # as many pixels as there should be
            document["images"][image][row].append(document["images"][image][row - 1].pop())
        case 6:
            document = draw(ODD)
    return json.dumps(document).encode()


@given(bodies())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_quick_reading_takes_what_the_schema_takes(body: bytes) -> None:
    try:
        right = np.array(ClassifyBody.model_validate_json(body).images)
    except ValidationError:
        with pytest.raises(Problem):
            parse_json(body)
    else:
        assert np.array_equal(parse_json(body), right)


@pytest.mark.parametrize("query", ["", "?model=cnn", "?model=rnn", "?model=all"])
@pytest.mark.parametrize("images", [RIGHT, [], [[[300] * 28] * 28]], ids=["right", "none", "wrong"])
def test_both_ways_give_the_same_answer(client: TestClient, query: str, images: list[object]) -> None:
    body = json.dumps({"images": images})
    answers = [
        client.post(f"/v1/classify{query}", content=body, headers={"Content-Type": kind})
        for kind in ("application/json", "application/json; charset=utf-8")
    ]
    short, long = ((answer.status_code, answer.content, dict(answer.headers)) for answer in answers)
    assert short == long


def test_the_short_way_is_the_one_that_is_taken(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepdigits.serving.app.read_images", None)
    body = json.dumps({"images": RIGHT})
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/classify?model=all", content=body, headers=headers).status_code == 200
    assert client.post("/v1/classify?model=all&model=cnn", content=body, headers=headers).status_code == 500
    assert 'status="500"' in client.get("/metrics").text
