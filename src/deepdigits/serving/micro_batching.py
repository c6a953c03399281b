"""Answers concurrent requests with one run of the network, in a thread, while further requests are being read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np

from deepdigits.serving.problems import Problem

MOST = 256  # images in a run that combines several requests
MOST_WAITING = 512  # requests


class MicroBatcher:
    """Wraps a function that takes images `(n, 28, 28)` and returns one row per image.

    All calls to one instance must come from the same event loop. ONNX Runtime's answer for an image is bit-identical
    whatever other images are in the batch; tests/serving/test_micro_batching.py checks this.
    """

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray]):
        self.answer = answer
        self.waiting: deque[tuple[np.ndarray, asyncio.Future[np.ndarray]]] = deque()
        self.work: asyncio.Task[None] | None = None

    async def __call__(self, images: np.ndarray) -> np.ndarray:
        """
        Raises:
            Problem: 429 if too many requests are waiting.
        """
        if len(self.waiting) >= MOST_WAITING:
            raise Problem(429, f"{MOST_WAITING} requests are already waiting. Try again in a moment.", 1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[np.ndarray] = loop.create_future()
        self.waiting.append((images, future))
        if self.work is None or self.work.done():
            self.work = loop.create_task(self._answer_all())
        return await future

    async def _answer_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self.waiting:
            requests = self._take()
            try:
                found = await loop.run_in_executor(
                    None, self.answer, np.concatenate([images for images, _ in requests])
                )
            except Exception as error:
                for _, future in requests:
                    if not future.done():
                        future.set_exception(error)
                continue
            ends = np.cumsum([len(images) for images, _ in requests])
            for (_, future), rows in zip(requests, np.split(found, ends[:-1]), strict=True):
                if not future.done():  # the request may have been cancelled
                    future.set_result(rows)

    def _take(self) -> list[tuple[np.ndarray, asyncio.Future[np.ndarray]]]:
        taken = [self.waiting.popleft()]
        count = len(taken[0][0])
        while self.waiting and count + len(self.waiting[0][0]) <= MOST:
            taken.append(self.waiting.popleft())
            count += len(taken[-1][0])
        return taken
