"""Where files come from: a folder, an address, or the digits bundled with scikit-learn.

Mirrors compress the files differently, so the checksum covers the decompressed bytes.
"""

from __future__ import annotations

import io
import logging
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pooch
import requests
from PIL import Image
from sklearn.datasets import load_digits

from deepdigits.core.addresses import host_of, masked
from deepdigits.core.errors import UserError
from deepdigits.core.files import sha256
from deepdigits.data.digits.splits import Split, stratified_rows
from deepdigits.data.ingest.idx import encode_idx

TRANSIENT = (408, 425, 429)  # the 4xx status codes that are worth a retry
MAX_BYTES = 64 * 2**20  # per decompressed IDX file; the largest MNIST file has 47 MB
MAX_ARCHIVE = 4 * 2**30  # bytes per archive of other data
DIGITS_TEST_IMAGES = 360
DIGITS_SEED = 0  # scikit-learn's digits have no canonical test split; this fixes one permanently


class Unreachable(UserError):
    """No mirror could be reached, for example because the machine is offline."""


class Refused(UserError):
    """A mirror responded but does not serve the file, and a retry would not help."""


class WrongBytes(UserError):
    """A file was found, but its content is not what was requested."""


@dataclass(frozen=True)
class Downloader:
    """Download settings.

    Attributes:
        cache: keeps verified downloads for the next run.
        packed: whether addresses serve each file as NAME.gz, as is usual for IDX files; otherwise they serve NAME.
        variable: the environment variable in which the user names a mirror, for messages.
    """

    cache: Path
    timeout_seconds: float
    retries: int
    packed: bool = True
    variable: str = "MNIST_MIRROR"

    def served(self, name: str) -> str:
        return f"{name}.gz" if self.packed else name


@dataclass(frozen=True)
class Fetched:
    """The decompressed bytes of one file, and the mirror they came from."""

    data: bytes
    mirror: str


def fetch_all(
    mirrors: Sequence[str], downloader: Downloader, expected: Mapping[str, str], own: str | None = None
) -> dict[str, Fetched]:
    """Fetch each file in `expected` (name: SHA-256 of the decompressed bytes) from the first mirror with a good copy.

    Args:
        mirrors: folders or http(s) URLs, best first. A folder may hold `NAME.gz` or `NAME`, a URL serves `NAME.gz`, if
            the files are packed. The extension is not trusted: whether or not the file is compressed, its content must
            match the hash.
        own: the user's own mirror, tried before `mirrors`. If it refuses a file or serves bad content, the error is
            raised; no other mirror is tried.

    Raises:
        Refused: `own` responded that it does not serve a file.
        WrongBytes: the content is wrong at `own`, in a folder, or at every mirror that responded.
        Unreachable: no mirror responded.
        UserError: a folder does not exist, or an address cannot be parsed.
    """
    candidates = [*([own] if own else []), *mirrors]
    return {name: _fetch(name, digest, candidates, downloader, own) for name, digest in expected.items()}


def own_mirror(setting: str, variable: str = "MNIST_MIRROR") -> str | None:
    """Parse the value of an environment variable into a folder or URL; None if it is empty.

    Raises:
        UserError: the value is neither a folder nor an unambiguous http(s) URL.
    """
    setting = setting.strip()
    if "://" not in setting:
        return str(Path(setting).expanduser()) if setting else None
    if not _is_url(setting):
        raise UserError(f"{variable}: {masked(setting)} is neither a folder nor an http(s) URL. Set it to one.")
    if not host_of(setting) or urlsplit(setting).hostname != host_of(setting):
        raise UserError(
            f"{variable}: {masked(setting)} is ambiguous. In its user name and password, write / as %2F, "
            "@ as %40, : as %3A, ? as %3F, # as %23 and % as %25."
        )
    return setting.replace(" ", "%20")


def _fetch(name: str, digest: str, mirrors: Sequence[str], downloader: Downloader, own: str | None) -> Fetched:
    wrong: list[str] = []
    unreachable: list[str] = []
    for mirror in mirrors:
        setting = downloader.variable if mirror == own else "urls"
        try:
            if _is_url(mirror):
                return Fetched(_download(name, digest, mirror, downloader), mirror)
            return Fetched(_read_folder(name, digest, Path(mirror), downloader, setting), mirror)
        except WrongBytes as error:
            if mirror == own or not _is_url(mirror):
                raise  # the user chose this source: never silently skip a bad file in it
            wrong.append(str(error))
        except Refused as error:
            if mirror == own:
                raise Refused(
                    f"{setting}: {downloader.served(name)} from {masked(mirror)}: {error}. Check its login and path, "
                    "or unset it to use the urls in datasets/."
                ) from None
            unreachable.append(f"  {masked(mirror)}: {error}")
        except (requests.RequestException, OSError) as error:
            unreachable.append(f"  {masked(mirror)}: {_reason(error)}")
    if wrong:
        raise WrongBytes(
            "\n".join([*wrong, *unreachable, f"Set {downloader.variable} to a folder or URL with the original files."])
        )
    raise Unreachable("\n".join([f"{name}: no mirror could be reached.", *unreachable]))


def _is_url(mirror: str) -> bool:
    return mirror.lower().startswith(("http://", "https://"))


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "timed out"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted, or it does not speak TLS"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy blocked the connection"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return masked(str(error)) or type(error).__name__


def _read_folder(name: str, digest: str, folder: Path, downloader: Downloader, setting: str) -> bytes:
    if not folder.is_dir():
        raise UserError(
            f"{setting}: {masked(str(folder))} is not a folder. Set it to a folder or an http(s) URL, or remove it."
        )
    for path in dict.fromkeys((folder / downloader.served(name), folder / name)):
        if path.is_file():
            return _verified(path.read_bytes(), digest, str(path), compressed=path.name != name)
    wanted = f"neither {name}.gz nor {name}" if downloader.packed else f"no {name}"
    raise UserError(f"{setting}: {folder} contains {wanted}.")


def _download(name: str, digest: str, mirror: str, downloader: Downloader) -> bytes:
    parts, served = urlsplit(mirror), downloader.served(name)
    url = parts._replace(path=f"{parts.path.rstrip('/')}/{served}", fragment="").geturl()
    files = pooch.create(
        path=downloader.cache,
        base_url="",
        urls={served: url},
        registry={served: None},
        retry_if_failed=downloader.retries,
    )
    most = MAX_BYTES if downloader.packed else MAX_ARCHIVE
    fetch = partial(_download_bounded, timeout=downloader.timeout_seconds, most=most)
    path = Path(files.fetch(served, downloader=fetch))
    try:
        return _verified(path.read_bytes(), digest, f"{served} from {masked(mirror)}", compressed=downloader.packed)
    except WrongBytes:
        path.unlink()
        raise


def _download_bounded(url: str, output: str, mirror: pooch.Pooch, timeout: float, most: int) -> None:
    """Download with pooch, but stop if a mirror sends too much, and raise `Refused` where a retry would not help."""

    class Bounded(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > most:
                raise WrongBytes(f"{masked(url)}: sent more than {most} bytes.")
            return super().write(data)

    with Bounded(output, "w") as file:
        try:
            pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=timeout)(url, file, mirror)
        except requests.HTTPError as error:
            if error.response.status_code in TRANSIENT or error.response.status_code >= 500:
                raise
            raise Refused(_reason(error)) from None  # pooch does not retry on our own exceptions
        except (requests.TooManyRedirects, requests.exceptions.InvalidURL) as error:
            raise Refused(masked(str(error))) from None


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = masked(record.getMessage()), ()
    return True


pooch.get_logger().addFilter(_without_secrets)  # pooch logs full URLs, including any credentials


def gunzip(data: bytes, name: str) -> bytes:
    """Decompress a single gzip member of at most `MAX_BYTES`.

    Raises:
        WrongBytes: the data are not gzip, are truncated, have trailing bytes, or are too large.
    """
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise WrongBytes(f"{name}: not a gzip file ({error}); it starts with {data[:16]!r}.") from None
    if stream.unconsumed_tail:
        raise WrongBytes(f"{name}: decompresses to more than {MAX_BYTES} bytes.")
    if not stream.eof:
        raise WrongBytes(f"{name}: the gzip file is truncated after {len(data)} bytes.")
    if stream.unused_data:
        raise WrongBytes(f"{name}: {len(stream.unused_data)} byte(s) follow the gzip data.")
    return plain


def _verified(data: bytes, digest: str, where: str, *, compressed: bool) -> bytes:
    """Return the decompressed bytes, checked against `digest`.

    Some mirrors and transfers decompress a `.gz` file on the way; `data` that already match are returned as they are.
    """
    if compressed and sha256(data) != digest:
        data = gunzip(data, where)
    found = sha256(data)
    if found != digest:
        raise WrongBytes(f"{where}: SHA-256 of the decompressed bytes is {found}, expected {digest}.")
    return data


def digits_splits() -> tuple[Split, Split]:
    """Load scikit-learn's 1,797 handwritten digits as (train, test).

    They are 8x8 images, enlarged to 20x20 and padded to 28x28 as in MNIST.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, https://doi.org/10.24432/C50P49.
    """
    bunch = load_digits()
    images = np.zeros((len(bunch.images), 28, 28), dtype=np.uint8)
    for index, image in enumerate((bunch.images * (255 / 16)).astype(np.uint8)):
        images[index, 4:24, 4:24] = np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC))
    whole = Split(images, bunch.target.astype(np.int64))
    train, test = stratified_rows(whole.labels, DIGITS_TEST_IMAGES, DIGITS_SEED)
    return whole.take(train), whole.take(test)


def raw_bytes(train: Split, test: Split) -> dict[str, bytes]:
    """Encode the two splits as IDX files under MNIST's names."""
    return {
        f"{prefix}-{kind}-ubyte": encode_idx(array.astype(np.uint8))
        for prefix, split in (("train", train), ("t10k", test))
        for kind, array in (("images-idx3", split.images), ("labels-idx1", split.labels))
    }
