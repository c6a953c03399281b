"""The limits on a process that reads a request; whatever happens to it, the next request is read."""

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
    ("function", "argument", "status", "message"),
    [
        (time.sleep, 60, 503, "more than 1 seconds"),
        (bytes, 2 * 10**9, 413, "memory"),
        (os._exit, 1, 503, "process reading this request died"),
    ],
    ids=["time", "memory", "dead process"],
)
def test_a_request_that_costs_too_much_is_refused_and_the_next_is_read(
    readers: Readers, function: object, argument: int, status: int, message: str
) -> None:
    start = time.monotonic()
    with pytest.raises(Problem, match=message) as refused:
        asyncio.run(readers(function, argument))  # type: ignore[arg-type]
    assert refused.value.status == status
    assert time.monotonic() - start < 30
    assert asyncio.run(readers(abs, -3)) == 3
    assert readers.line.count == 0


def test_a_defect_in_a_reader_is_raised_with_its_traceback(readers: Readers) -> None:
    with pytest.raises(RuntimeError, match="invalid literal for int"):
        asyncio.run(readers(int, "three"))


def test_a_request_beyond_a_full_queue_is_told_when_to_retry(readers: Readers) -> None:
    async def ask() -> list[object]:
        return await asyncio.gather(*[readers(time.sleep, 0.2) for _ in range(5)], return_exceptions=True)

    answers = asyncio.run(ask())
    refused = [answer for answer in answers if isinstance(answer, Problem)]
    assert answers.count(None) == 3
    assert [problem.status for problem in refused] == [429, 429]
    assert refused[0].response().headers["Retry-After"] == "2"


def test_a_place_in_the_queue_is_released_after_a_failure() -> None:
    line = Line(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), line.place():
            raise ZeroDivisionError
    with line.place():
        assert line.count == 1


def test_a_killed_server_leaves_no_processes_behind(live: Live) -> None:
    """Must stay last in the file: it kills the server."""
    process, _ = live
    children = process.children(recursive=True)
    assert children
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
