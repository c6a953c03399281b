"""A page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Error, Page, Route, sync_playwright

# A microphone that beeps, which every page may use.
MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


@contextmanager
def browsing(answer: Callable[[Route], None]) -> Iterator[Page]:
    """An empty page of Chromium, whose requests `answer` handles. At the end, no script may have failed.

    Skips the test if there is no Chromium that starts.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((path for name in names if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on PATH")
    problems: list[str] = []
    with sync_playwright() as play:
        try:
            chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox", *MICROPHONE])
        except Error as error:
            pytest.skip(f"{path} does not start: {error.message.splitlines()[0]}")
        page = chromium.new_context(has_touch=True, viewport={"width": 1000, "height": 900}).new_page()
        page.route("**", answer)
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield page
        chromium.close()
    assert problems == []
