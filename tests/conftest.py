"""Fixtures shared by all tests: real images that need no network."""

import socket
from pathlib import Path

import pytest

from deepdigits.data.sources import digits_splits
from deepdigits.data.splits import Split

ROOT = Path(__file__).parents[1]


def closed_port() -> str:
    """The URL of a port on this machine where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="session")
def digits() -> tuple[Split, Split]:
    """scikit-learn's digits as 28x28 images: train and test."""
    return digits_splits()


@pytest.fixture(scope="session")
def digits_train(digits: tuple[Split, Split]) -> Split:
    return digits[0]
