"""Errors that are not bugs in this project."""

from __future__ import annotations


class UserError(Exception):
    """Bad input, data or environment. The message says what is wrong, where, and what to do next."""


class Terminated(BaseException):
    """The process was asked to stop (SIGTERM) before its work was complete."""
