"""What a process may cost that reads a request, and that the next request is read whatever happened to it."""

import asyncio
import os
import time
from collections.abc import Iterator

import psutil
import pytest

from deepdigits.serving.problems import Problem
from deepdigits.serving.workers import Line, Readers
from tests.serving.test_attacks import Live


@pytest.fixture
def readers() -> Iterator[Readers]:
    readers = Readers(count=1, waiting=2, seconds=1.0, memory=400 * 2**20)
    readers.warm_up()
    yield readers
    readers.threads.shutdown()


@pytest.mark.parametrize(
    ("function", "argument", "status", "said"),
    [
        (time.sleep, 60, 503, "more than 1 seconds"),
        (bytes, 2 * 10**9, 413, "memory"),
        (os._exit, 1, 503, "process reading this request died"),
    ],
    ids=["time", "memory", "death"],
)
def test_a_request_that_costs_too_much_is_refused_and_the_next_is_read(
    readers: Readers, function: object, argument: int, status: int, said: str
) -> None:
    start = time.monotonic()
    with pytest.raises(Problem, match=said) as refused:
        asyncio.run(readers(function, argument))  # type: ignore[arg-type]
    assert refused.value.status == status
    assert time.monotonic() - start < 30
    assert asyncio.run(readers(abs, -3)) == 3
    assert readers.line.count == 0


def test_a_defect_of_ours_is_told_with_its_traceback(readers: Readers) -> None:
    with pytest.raises(RuntimeError, match="invalid literal for int"):
        asyncio.run(readers(int, "three"))


def test_who_comes_when_the_line_is_full_is_told_when_to_come_again(readers: Readers) -> None:
    async def ask() -> list[object]:
        return await asyncio.gather(*[readers(time.sleep, 0.2) for _ in range(5)], return_exceptions=True)

    answers = asyncio.run(ask())
    refused = [answer for answer in answers if isinstance(answer, Problem)]
    assert answers.count(None) == 3
    assert [one.status for one in refused] == [429, 429]
    assert refused[0].response().headers["Retry-After"] == "2"


def test_a_place_in_the_line_is_given_back_after_a_failure() -> None:
    line = Line(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), line.place():
            raise ZeroDivisionError
    with line.place():
        assert line.count == 1


def test_nothing_is_left_of_a_server_that_was_killed(live: Live) -> None:
    """This one comes last: it ends the server."""
    process, _ = live
    below = process.children(recursive=True)
    assert below
    process.kill()
    _, alive = psutil.wait_procs(below, timeout=60)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
