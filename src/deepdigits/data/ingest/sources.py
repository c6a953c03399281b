"""Where the images come from: a local folder, a mirror, or the digits bundled with scikit-learn.

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
from deepdigits.data.ingest.idx import encode_idx, parse_idx

MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
TRANSIENT = (408, 425, 429)  # the 4xx status codes that are worth a retry
MAX_BYTES = 64 * 2**20  # per decompressed file; the largest MNIST file has 47 MB
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
    """Download settings. `cache` keeps verified downloads for the next run."""

    cache: Path
    timeout_seconds: float
    retries: int


@dataclass(frozen=True)
class Fetched:
    """The decompressed bytes of one file, and the mirror they came from."""

    data: bytes
    mirror: str


def fetch_all(
    mirrors: Sequence[str], downloader: Downloader, expected: Mapping[str, str] = MNIST_SHA256, own: str | None = None
) -> dict[str, Fetched]:
    """Fetch each file in `expected` (name: SHA-256 of the decompressed bytes) from the first mirror with a good copy.

    Args:
        mirrors: folders or http(s) URLs, best first. A folder may hold `NAME.gz` or `NAME`; a URL serves `NAME.gz`.
            The extension is not trusted: whether or not the file is compressed, its content must match the hash.
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


def own_mirror(setting: str) -> str | None:
    """Parse the value of `MNIST_MIRROR` into a folder or URL; None if it is empty.

    Raises:
        UserError: the value is neither a folder nor an unambiguous http(s) URL.
    """
    setting = setting.strip()
    if "://" not in setting:
        return str(Path(setting).expanduser()) if setting else None
    if not _is_url(setting):
        raise UserError(f"MNIST_MIRROR: {masked(setting)} is neither a folder nor an http(s) URL. Set it to one.")
    if not host_of(setting) or urlsplit(setting).hostname != host_of(setting):
        raise UserError(
            f"MNIST_MIRROR: {masked(setting)} is ambiguous. In its user name and password, write / as %2F, "
            "@ as %40, : as %3A, ? as %3F, # as %23 and % as %25."
        )
    return setting.replace(" ", "%20")


def _fetch(name: str, digest: str, mirrors: Sequence[str], downloader: Downloader, own: str | None) -> Fetched:
    wrong: list[str] = []
    unreachable: list[str] = []
    for mirror in mirrors:
        setting = "MNIST_MIRROR" if mirror == own else "ingest.mirrors in params.yaml"
        try:
            if _is_url(mirror):
                return Fetched(_download(name, digest, mirror, downloader), mirror)
            return Fetched(_read_folder(name, digest, Path(mirror), setting), mirror)
        except WrongBytes as error:
            if mirror == own or not _is_url(mirror):
                raise  # the user chose this source: never silently skip a bad file in it
            wrong.append(str(error))
        except Refused as error:
            if mirror == own:
                raise Refused(
                    f"MNIST_MIRROR: {name}.gz from {masked(mirror)}: {error}. Check its login and path, or unset it to "
                    "use the mirrors in params.yaml."
                ) from None
            unreachable.append(f"  {masked(mirror)}: {error}")
        except (requests.RequestException, OSError) as error:
            unreachable.append(f"  {masked(mirror)}: {_reason(error)}")
    if wrong:
        raise WrongBytes(
            "\n".join([*wrong, *unreachable, "Set MNIST_MIRROR to a folder or URL with the original files."])
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


def _read_folder(name: str, digest: str, folder: Path, setting: str) -> bytes:
    if not folder.is_dir():
        raise UserError(
            f"{setting}: {masked(str(folder))} is not a folder. Set it to a folder or an http(s) URL, or remove it."
        )
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return _verified(path.read_bytes(), digest, str(path), compressed=path.suffix == ".gz")
    raise UserError(f"{setting}: {folder} contains neither {name}.gz nor {name}.")


def _download(name: str, digest: str, mirror: str, downloader: Downloader) -> bytes:
    parts = urlsplit(mirror)
    url = parts._replace(path=f"{parts.path.rstrip('/')}/{name}.gz", fragment="").geturl()
    files = pooch.create(
        path=downloader.cache,
        base_url="",
        urls={f"{name}.gz": url},
        registry={f"{name}.gz": None},
        retry_if_failed=downloader.retries,
    )
    path = Path(files.fetch(f"{name}.gz", downloader=partial(_download_bounded, timeout=downloader.timeout_seconds)))
    try:
        return _verified(path.read_bytes(), digest, f"{name}.gz from {masked(mirror)}", compressed=True)
    except WrongBytes:
        path.unlink()
        raise


def _download_bounded(url: str, output: str, mirror: pooch.Pooch, timeout: float) -> None:
    """Download with pooch, but stop if a mirror sends too much, and raise `Refused` where a retry would not help."""

    class Bounded(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > MAX_BYTES:
                raise WrongBytes(f"{masked(url)}: sent more than {MAX_BYTES} bytes.")
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


def mnist_splits(files: Mapping[str, bytes]) -> tuple[Split, Split]:
    """Parse the four files into the canonical 60,000 training and 10,000 test images.

    Raises:
        IdxError: a file is malformed.
        UserError: the numbers of images and labels differ, or a label is above 9.
    """
    return _parse_split(files, "train"), _parse_split(files, "t10k")


def _parse_split(files: Mapping[str, bytes], prefix: str) -> Split:
    images_name, labels_name = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    images = parse_idx(files[images_name], images_name, (28, 28))
    labels = parse_idx(files[labels_name], labels_name)
    if len(images) != len(labels):
        raise UserError(f"{images_name} has {len(images)} images, but {labels_name} has {len(labels)} labels.")
    if labels.size and labels.max() > 9:
        raise UserError(f"{labels_name}: label {labels.max()} at index {int(labels.argmax())}; labels are 0 to 9.")
    return Split(images, labels.astype(np.int64))


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
