"""Does the work on requests, so that the event loop only receives and sends.

Untrusted input is read in processes, not threads: a thread stuck in a decoder cannot be killed, and Python code in it
blocks every other thread. A process has memory and time limits, and is killed if it exceeds them. The networks run in
threads: ONNX Runtime lets other threads run meanwhile, and its input has a known size.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import resource
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from deepdigits.serving.problems import Problem

SECONDS = 10.0  # per request
START_SECONDS = 60.0  # for a process to become ready
MEMORY = 1024**3  # bytes that a reader process may use
READERS = min(4, os.cpu_count() or 1)
RUNNERS = 2
WAITING = 32  # requests that may wait, for readers and for runners each
RETRY_AFTER = 2  # seconds
NICENESS = 5  # the event loop has priority
Found = TypeVar("Found")
log = logging.getLogger("uvicorn.error")


class Line:
    """Admits at most `most` requests, running or waiting."""

    def __init__(self, most: int):
        self.most, self.count = most, 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """
        Raises:
            Problem: 429 if the line is full.
        """
        if self.count >= self.most:
            raise Problem(429, f"{self.count} requests are already waiting. Try again in a moment.", RETRY_AFTER)
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class Runners:
    """Threads that run the networks."""

    def __init__(self, count: int = RUNNERS, waiting: int = WAITING):
        self.threads = ThreadPoolExecutor(count, "network")
        self.line = Line(count + waiting)

    async def __call__(self, function: Callable[..., Found], *arguments: Any) -> Found:
        with self.line.place():
            return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)


class Readers:
    """Processes that parse bodies into arrays. Each belongs to a thread that waits for it, and is replaced if it was
    killed or died."""

    def __init__(
        self, count: int = READERS, waiting: int = WAITING, seconds: float = SECONDS, memory: int | None = MEMORY
    ):
        self.threads = ThreadPoolExecutor(count, "reader")
        self.line = Line(count + waiting)
        self.seconds, self.memory = seconds, memory
        self.own = threading.local()
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__, "deepdigits.serving.reading"])

    async def __call__(self, function: Callable[..., Found], *arguments: Any) -> Found:
        """Run `function` in another process and return its result. It and its arguments must be picklable.

        Raises:
            Problem: the function's own; 429 if too many requests are waiting; 413 if it took too much memory; 503 if it
                took too much time or the process died.
        """
        with self.line.place():
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.threads, self._ask, function, arguments)

    def warm_up(self) -> None:
        """Start the process that the others are forked from, which takes a second."""
        self.threads.submit(self._ask, os.getpid, ()).result()

    def _ask(self, function: Callable[..., Found], arguments: tuple[Any, ...]) -> Found:
        try:
            reader = self._reader()
            reader.pipe.send((function, arguments))
            if not reader.pipe.poll(self.seconds):
                raise Problem(503, f"Reading took more than {self.seconds:g} seconds and was stopped.", RETRY_AFTER)
            answer: Found | BaseException = reader.pipe.recv()
        except (Problem, EOFError, OSError) as error:
            self._drop_reader()
            if isinstance(error, Problem):
                raise
            log.warning("a reader process died")
            raise Problem(503, "The process reading this request died. Try again.", RETRY_AFTER) from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _drop_reader(self) -> None:
        if hasattr(self.own, "reader"):
            self.own.reader.process.kill()
            del self.own.reader

    def _reader(self) -> Reader:
        if not hasattr(self.own, "reader"):
            self.own.reader = Reader(self.context, self.memory)
        reader: Reader = self.own.reader
        return reader


class Reader:
    """One process and the pipe to it."""

    def __init__(self, context: multiprocessing.context.ForkServerContext, memory: int | None):
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, memory), daemon=True)
        self.process.start()
        theirs.close()
        if not self.pipe.poll(START_SECONDS):
            self.process.kill()
            raise EOFError
        self.pipe.recv()


@dataclass(frozen=True)
class Work:
    """Readers and runners, for the routes."""

    read: Readers
    run: Runners


def _work(pipe: Connection, memory: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server; it ends this process by closing the pipe
    os.nice(NICENESS)
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    pipe.send("ready")
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(function, arguments))


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except Problem as problem:
        return problem
    except MemoryError:
        return Problem(413, "Reading this takes more memory than allowed; send less at once.")
    except Exception:
        return RuntimeError(f"error in a reader process:\n{traceback.format_exc()}")
