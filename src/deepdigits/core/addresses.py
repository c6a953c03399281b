"""Masks addresses for display: hides everything that may be secret and keeps the host readable."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

HIDDEN = "***"
SETTINGS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MNIST_MIRROR")  # addresses that the user sets
FILES = ("file", "sqlite")  # the rest is a local path, which a message must name
CLOSING = "\"'`)]}>,.;:!"  # punctuation that may follow an address in a sentence


def masked(text: str) -> str:
    """Mask login, path, query and fragment of every `scheme://...` in a text; for a file address, only the query.

    A login may contain any character, raw or escaped. If the host is ambiguous, it is masked too.
    An address ends at whitespace, except that the addresses set in the `SETTINGS` variables are matched in full.
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
            if _is_split(word) and any("@" in other for other in words):
                word = " ".join([word, *words])
                words.clear()
            word = _masked_address(word)
        elif ":" in word.rpartition("@")[0]:
            word = f"{HIDDEN}@{word.rpartition('@')[2]}"  # an address without a scheme
        elif shown and shown[-1] == "url:" and word.startswith("/"):
            word = f"/{HIDDEN}"  # requests shows the URL it requested without the host
        elif "=" in word.partition("?")[2]:
            word = f"{word.partition('?')[0]}?{HIDDEN}"
        shown.append(word)
    return " ".join(shown)


def _is_split(word: str) -> bool:
    """Whether a space in the login splits the address, so that `word` holds only its start."""
    address = word.partition("://")[2]
    return "@" not in address and bool(address) and not _host(address.rstrip(CLOSING))


def _masked_address(text: str) -> str:
    """Mask the first address in `text` and everything after it."""
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
    """The lowercase host name in `scheme://...`; empty if there is none or it is ambiguous."""
    rest = address.partition("://")[2]
    found = _host(rest)
    return _name(rest[slice(*found)]) if found else ""


def _host(address: str) -> tuple[int, int] | None:
    """The span of host and port in the text after `scheme://`; None if it is ambiguous."""
    spans = [span for span in _candidate_spans(address) if _name(address[slice(*span)])]
    if len(spans) > 1:
        spans = [span for span in spans if _is_qualified(_name(address[slice(*span)]))]
    return spans[0] if len(spans) == 1 else None


def _candidate_spans(address: str) -> list[tuple[int, int]]:
    """The standard host span, and one after a later `@`, which may be in a path or end a raw password."""
    end = _until("/?#", address, 0)
    start = address.rfind("@", 0, end) + 1
    spans = [(start, end)]
    at = address.rfind("@", end, _until("?#", address, end))
    if at < 0 and not _name(address[start:end]) and address.count("@", end) == 1:
        at = address.find("@", end)
    if at >= 0:
        spans.append((at + 1, _until("/?#", address, at)))
    return spans


def _until(ends: str, text: str, start: int) -> int:
    return min((index for index in range(start, len(text)) if text[index] in ends), default=len(text))


def _name(host: str) -> str:
    """The name in `NAME` or `NAME:PORT`; empty if `host` is neither."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname or "", parts.port
    except ValueError:
        return ""
    return name if all(char.isalnum() or char in "-._:" for char in name) else ""


def _is_qualified(name: str) -> bool:
    return name == "localhost" or "." in name or ":" in name
