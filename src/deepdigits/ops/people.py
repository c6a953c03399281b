"""Who runs a command, as far as a program can tell."""

from __future__ import annotations

import getpass
import os
import pwd


def claimed_user() -> str:
    """The user name from the environment (LOGNAME, USER...), which anyone can set."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def account() -> str:
    """The account that the process runs under, e.g. "uid 1000 (alice)". In a container it may have no name."""
    uid = os.getuid()
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"
