import gzip
import io
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from deepdigits.core.errors import UserError
from deepdigits.core.files import sha256
from deepdigits.core.loading import read_yaml
from deepdigits.data.described import Described, part
from deepdigits.data.ingest import sources
from deepdigits.data.ingest.idx import encode_idx
from deepdigits.data.ingest.obtaining import obtain
from deepdigits.data.ingest.sources import Downloader, Refused, Unreachable, WrongBytes, fetch_all, gunzip, own_mirror
from deepdigits.data.own.arrays import read_idx
from pipelines.ingest import obtain_or_replace
from tests.conftest import ROOT, closed_port

CONTENT = b"forty-seven megabytes of digits" * 40
EXPECTED = {"file": sha256(CONTENT)}


class Mirror(ThreadingHTTPServer):
    """Answers each request with the next of `answers` (status, body), and repeats the last one for ever."""

    def __init__(self, answers: list[tuple[int, bytes]]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.headers: dict[str, str] = {}
        self.paths: list[str] = []
        self.requests = 0
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        status, body = self.server.answers[min(self.server.requests, len(self.server.answers) - 1)]
        self.server.requests += 1
        self.server.paths.append(self.path)
        if status == 0:  # never answers
            self.server.ended.wait(20)
            return
        self.send_response(status)
        promised = len(body) if status != 206 else 2 * len(body)  # here, 206 means: promise twice what is sent
        self.send_header("Content-Length", str(promised))
        for header in self.server.headers.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[type[Mirror]]:
    servers: list[Mirror] = []

    def start(*answers: tuple[int, bytes]) -> Mirror:
        servers.append(Mirror(list(answers)))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start  # type: ignore[misc]
    for server in servers:
        server.ended.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def downloader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Downloader:
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)  # between retries
    return Downloader(tmp_path / "cache", timeout_seconds=2, retries=2)


def test_a_folder_serves_plain_and_compressed_files(tmp_path: Path, downloader: Downloader) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert fetch_all([str(tmp_path)], downloader, EXPECTED)["file"].data == CONTENT
    (tmp_path / "file.gz").write_bytes(gzip.compress(CONTENT, 1))
    assert fetch_all([str(tmp_path)], downloader, EXPECTED)["file"].data == CONTENT


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (CONTENT, {}),
        (gzip.compress(CONTENT), {"Content-Encoding": "gzip"}),
        (gzip.compress(gzip.compress(CONTENT)), {"Content-Encoding": "gzip"}),
    ],
    ids=["not compressed", "decompressed in transfer", "compressed twice"],
)
def test_only_the_decoded_bytes_count_not_how_they_were_sent(
    body: bytes, headers: dict[str, str], downloader: Downloader, mirror
) -> None:
    server = mirror((200, body))
    server.headers = headers
    for _ in range(2):  # the second time from the cache
        assert fetch_all([server.url], downloader, EXPECTED)["file"].data == CONTENT
    assert server.requests == 1


def test_a_decompressed_file_in_a_folder_may_keep_its_gz_name(tmp_path: Path, downloader: Downloader) -> None:
    (tmp_path / "file.gz").write_bytes(CONTENT)
    assert fetch_all([str(tmp_path)], downloader, EXPECTED)["file"].data == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_by_the_users_own_mirror_is_an_error(status: int, downloader: Downloader, mirror) -> None:
    own, good = mirror((status, b"")), mirror((200, gzip.compress(CONTENT)))
    address = own.url.replace("//", "//me:pass%2Fword@") + "/private-folder"
    with pytest.raises(Refused, match=f"MNIST_MIRROR: file.gz from .*answered {status} .*Check its login") as caught:
        fetch_all([good.url], downloader, EXPECTED, own=address)
    assert own.requests == 1, "a refused login must not be retried"
    assert good.requests == 0
    assert "pass%2Fword" not in str(caught.value)
    assert own.url.removeprefix("http://") in str(caught.value)
    assert fetch_all([own.url, good.url], downloader, EXPECTED)["file"].mirror == good.url  # one of several is skipped


def test_wrong_bytes_from_the_users_own_mirror_are_an_error(downloader: Downloader, mirror) -> None:
    own, good = mirror((200, b"<!doctype html><p>Please log in")), mirror((200, gzip.compress(CONTENT)))
    with pytest.raises(WrongBytes, match="file.gz from http://.*not a gzip file.*doctype"):
        fetch_all([good.url], downloader, EXPECTED, own=own.url)


def test_no_fallback_data_are_used_when_the_users_own_mirror_is_down(
    downloader: Downloader, mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own, good = mirror((503, b"")), mirror((200, gzip.compress(CONTENT)))
    assert fetch_all([good.url], downloader, EXPECTED, own=own.url)["file"].mirror == good.url  # the same bytes
    (tmp_path / "datasets").mkdir()
    for name in ("mnist", "digits"):
        text = (ROOT / f"datasets/{name}.yaml").read_text()
        (tmp_path / f"datasets/{name}.yaml").write_text(re.sub(r"- https://\S+", f"- {closed_port()}", text))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_MIRROR", own.url.replace("//", "//me:secret@"))
    with pytest.raises(UserError, match=r"(?s)answered 503.*Check MNIST_MIRROR") as caught:
        obtain_or_replace("mnist", downloader)
    assert "secret" not in str(caught.value)
    monkeypatch.delenv("MNIST_MIRROR")
    assert obtain_or_replace("mnist", downloader)[0] == "digits"


def test_an_archive_is_fetched_from_an_address_and_read(
    downloader: Downloader, mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    np.savez(buffer, images=rng.integers(0, 256, (60, 28, 28), np.uint8), labels=np.arange(60) % 3)
    server = mirror((200, buffer.getvalue()))
    facts = read_yaml(ROOT / "datasets/mnist.yaml")
    where = {"urls": [server.url], "files": {"shapes.npz": sha256(buffer.getvalue())}}
    facts |= {"kind": "npz", "where": where}
    described = part(facts | {"classes": ["a", "b", "c"]}, Described, "shapes.yaml")
    for _ in range(2):  # the second time from the cache
        found = obtain("shapes", described, downloader)
        assert (len(found.data), found.origins) == (60, (server.url,))
    assert server.paths == ["/shapes.npz"]
    monkeypatch.setenv("SHAPES_MIRROR", str(tmp_path))
    with pytest.raises(UserError, match="SHAPES_MIRROR: .* contains no shapes.npz"):
        obtain("shapes", described, downloader)
    (tmp_path / "shapes.npz").write_bytes(buffer.getvalue() + b"x")
    with pytest.raises(WrongBytes, match="expected"):
        obtain("shapes", described, downloader)


def test_the_users_own_mirror_may_have_a_login_a_query_and_a_space(
    downloader: Downloader, mirror, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooch.get_logger().handlers[0], "stream", sys.stderr)
    own = mirror((200, gzip.compress(CONTENT)))
    address = own_mirror(own.url.replace("//", "//me:pass%2Fword@") + "/my data?token=abcdef ")
    assert address
    fetch_all([], downloader, EXPECTED, own=address)
    assert own.paths == ["/my%20data/file.gz?token=abcdef"]
    printed = capfd.readouterr().err
    assert "file.gz" in printed
    assert "pass%2Fword" not in printed
    assert "abcdef" not in printed


def test_the_users_own_mirror_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_mirror(" ~/my data ") == str(tmp_path / "my data")
    assert own_mirror("  ") is None


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("ftp://me:secret@mirror.example/x", "neither a folder nor"),
        ("http://me:secret/9@mirror.example/x", "write / as %2F"),
        ("http://me:se@cret/9@mirror.example/x", "write / as %2F"),
        ("http://[secret", "is ambiguous"),
    ],
)
def test_an_invalid_mirror_address_is_reported_without_its_login(setting: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        own_mirror(setting)
    assert "secret" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_a_damaged_file_in_a_folder_is_never_skipped(tmp_path: Path, downloader: Downloader, mirror) -> None:
    (tmp_path / "file").write_bytes(CONTENT + b"x")
    good = mirror((200, gzip.compress(CONTENT)))
    with pytest.raises(WrongBytes, match=f"file: SHA-256 .* is {sha256(CONTENT + b'x')}, expected {EXPECTED['file']}"):
        fetch_all([str(tmp_path), good.url], downloader, EXPECTED)


def test_a_missing_folder_is_named(tmp_path: Path, downloader: Downloader) -> None:
    with pytest.raises(UserError, match="urls: .*nowhere is not a folder"):
        fetch_all([str(tmp_path / "nowhere")], downloader, EXPECTED)


def test_mirrors_are_tried_in_order_until_one_has_the_file(downloader: Downloader, mirror) -> None:
    html = mirror((200, b"<!doctype html><p>Please log in"))
    broken = mirror((500, b""))
    good = mirror((200, gzip.compress(CONTENT)))
    never = mirror((200, b""))
    fetched = fetch_all([closed_port(), broken.url, html.url, good.url, never.url], downloader, EXPECTED)
    assert fetched["file"].data == CONTENT
    assert fetched["file"].mirror == good.url
    assert never.requests == 0
    assert broken.requests == 1 + downloader.retries


def test_a_failing_mirror_is_retried_until_it_recovers(downloader: Downloader, mirror) -> None:
    flaky = mirror((503, b""), (206, gzip.compress(CONTENT)), (200, gzip.compress(CONTENT)))
    assert fetch_all([flaky.url], downloader, EXPECTED)["file"].data == CONTENT
    assert flaky.requests == 3


def test_a_mirror_that_hangs_is_abandoned(downloader: Downloader, mirror, tmp_path: Path) -> None:
    hanging, good = mirror((0, b"")), mirror((200, gzip.compress(CONTENT)))
    impatient = Downloader(downloader.cache, timeout_seconds=0.2, retries=1)
    assert fetch_all([hanging.url, good.url], impatient, EXPECTED)["file"].mirror == good.url
    assert hanging.requests == 2
    with pytest.raises(Unreachable, match="timed out"):
        fetch_all([hanging.url], Downloader(tmp_path / "other", timeout_seconds=0.2, retries=0), EXPECTED)


def test_a_mirror_that_never_stops_sending_is_cut_off(
    downloader: Downloader, mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 100_000)
    endless = mirror((200, bytes(10_000_000)))
    with pytest.raises(WrongBytes, match="sent more than 100000 bytes"):
        fetch_all([endless.url], downloader, EXPECTED)
    assert not [path for path in downloader.cache.rglob("*") if path.is_file()]


def test_a_downloaded_file_is_not_downloaded_again(downloader: Downloader, mirror) -> None:
    server = mirror((200, gzip.compress(CONTENT)))
    for _ in range(2):
        fetch_all([server.url], downloader, EXPECTED)
    assert server.requests == 1


def test_wrong_bytes_do_not_trigger_the_fallback_and_are_not_cached(downloader: Downloader, mirror) -> None:
    wrong = mirror((200, gzip.compress(b"something else")))
    with pytest.raises(WrongBytes, match="expected"):
        fetch_all([wrong.url, closed_port()], downloader, EXPECTED)
    assert not list(downloader.cache.glob("*")), "a wrong file must not stay in the cache"


def test_without_a_network_the_error_covers_every_mirror(downloader: Downloader) -> None:
    with pytest.raises(Unreachable, match=r"(?s)no mirror could be reached.*no connection.*no connection"):
        fetch_all([closed_port(), closed_port()], downloader, EXPECTED)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain", "not a gzip file"),
        (gzip.compress(CONTENT)[:-5], "truncated"),
        (gzip.compress(CONTENT) + b"more", "follow"),
        (gzip.compress(bytes(sources.MAX_BYTES + 1)), "more than"),
    ],
    ids=["not compressed", "truncated", "trailing bytes", "gzip bomb"],
)
def test_bad_gzip_is_refused(data: bytes, expected: str) -> None:
    with pytest.raises(WrongBytes, match=expected):
        gunzip(data, "f")


def test_images_and_labels_must_match() -> None:
    train, test = sources.digits_splits()
    files = sources.raw_bytes(train, test)
    parsed = read_idx(files, Path("mnist"), 10)
    assert np.array_equal(parsed.images[parsed.splits == "train"], train.images)
    assert np.array_equal(parsed.labels[parsed.splits == "test"], test.labels)
    with pytest.raises(UserError, match="1437 images.*360 labels"):
        read_idx(files | {"train-labels-idx1-ubyte": files["t10k-labels-idx1-ubyte"]}, Path("mnist"), 10)
    bad = encode_idx(np.full(len(test), 11, np.uint8))
    with pytest.raises(UserError, match="label 11 at index 0"):
        read_idx(files | {"t10k-labels-idx1-ubyte": bad}, Path("mnist"), 10)
