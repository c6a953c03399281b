"""Addresses as they may be shown: all that may be a secret is hidden, and the host stays readable."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

HIDDEN = "***"
SETTINGS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MNIST_MIRROR")  # addresses that the user gives
FILES = ("file", "sqlite")  # what follows is a path on this machine, which a message has to name
CLOSING = "\"'`)]}>,.;:!"  # what a sentence may put behind an address


def masked(text: str) -> str:
    """Hide login, path, query and fragment of every `scheme://...` in a text; of a file's address only the query.

    A login may hold any character, raw or escaped. Where it cannot be told which part is the host, it is hidden, too.
    An address ends at white space, but those that the environment names in `SETTINGS` are known as a whole.
    """
    for address in (os.environ.get(name, "") for name in SETTINGS):
        if "://" in address:
            text = text.replace(address, _masked_address(address))
    return "".join(_masked_line(line) for line in text.splitlines(keepends=True))


def _masked_line(line: str) -> str:
    shown: list[str] = []
    words = line.split(" ")
    while words:
        word = words.pop(0)
        if "://" in word:
            if _is_torn(word) and any("@" in other for other in words):
                word = " ".join([word, *words])
                words.clear()
            word = _masked_address(word)
        elif ":" in word.rpartition("@")[0]:
            word = f"{HIDDEN}@{word.rpartition('@')[2]}"  # an address without its scheme
        elif shown and shown[-1] == "url:" and word.startswith("/"):
            word = f"/{HIDDEN}"  # requests names what it asked for without the host
        elif "=" in word.partition("?")[2]:
            word = f"{word.partition('?')[0]}?{HIDDEN}"
        shown.append(word)
    return " ".join(shown)


def _is_torn(word: str) -> bool:
    """Whether the address in `word` ends in the midst of its login, which then holds a space."""
    address = word.partition("://")[2]
    return "@" not in address and bool(address) and not _host(address.rstrip(CLOSING))


def _masked_address(text: str) -> str:
    """Mask the first address in `text` with all that follows it."""
    scheme, _, rest = text.partition("://")
    address = rest.rstrip(CLOSING + "\r\n")
    closing = rest[len(address) :]
    kind = "".join(char if char.isalnum() else " " for char in scheme.partition("+")[0]).split()[-1:]
    if kind and kind[0].lower() in FILES and address.startswith("/"):
        path, mark, _ = address.partition("?")
        return f"{scheme}://{path}{mark and mark + HIDDEN}{closing}"
    found = _host(address)
    if not found:
        return f"{scheme}://{HIDDEN}{closing}"
    start, end = found
    login = f"{HIDDEN}@" if start else ""
    tail = f"/{HIDDEN}" if address[end:].strip("/") else address[end:]
    return f"{scheme}://{login}{address[start:end]}{tail}{closing}"


def host_of(address: str) -> str:
    """The name of the host in `scheme://...`, in small letters; empty if there is none or it is not sure."""
    rest = address.partition("://")[2]
    found = _host(rest)
    return _name(rest[slice(*found)]) if found else ""


def _host(address: str) -> tuple[int, int] | None:
    """Where host and port stand in what follows `scheme://`; None if that is not sure."""
    readings = [span for span in _readings(address) if _name(address[slice(*span)])]
    if len(readings) > 1:
        readings = [span for span in readings if _is_full(_name(address[slice(*span)]))]
    return readings[0] if len(readings) == 1 else None


def _readings(address: str) -> list[tuple[int, int]]:
    """The host as the standard has it; and behind an `@` further on, which may be in a path or end a raw password."""
    end = _until("/?#", address, 0)
    start = address.rfind("@", 0, end) + 1
    readings = [(start, end)]
    at = address.rfind("@", end, _until("?#", address, end))
    if at < 0 and not _name(address[start:end]) and address.count("@", end) == 1:
        at = address.find("@", end)
    if at >= 0:
        readings.append((at + 1, _until("/?#", address, at)))
    return readings


def _until(ends: str, text: str, start: int) -> int:
    return min((index for index in range(start, len(text)) if text[index] in ends), default=len(text))


def _name(host: str) -> str:
    """The name in `NAME` or `NAME:PORT`; empty if this is neither."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname or "", parts.port
    except ValueError:
        return ""
    return name if all(char.isalnum() or char in "-._:" for char in name) else ""


def _is_full(name: str) -> bool:
    return name == "localhost" or "." in name or ":" in name
