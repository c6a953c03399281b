"""The models being served: the champions of one dataset. Each is replaced on its own when its alias moves."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel

from deepdigits.core.errors import UserError
from deepdigits.export.runtime import CLASSES, INPUT, OnnxClassifier, OnnxGenerator, OnnxNetwork, golden_difference
from deepdigits.ops.runs import every
from deepdigits.ops.tracking import DEFAULT_URI, STORE_DIR, masked, open_store, store_uri
from deepdigits.promotion.registered import fetch, find, measures_of
from deepdigits.promotion.transaction import CHAMPION
from deepdigits.serving.micro_batching import MicroBatcher
from deepdigits.serving.problems import Problem
from deepdigits.serving.reading import ServedInput

KINDS = ("cnn", "rnn", "gan", "detector", "segmenter", "swap")
GOLDEN_TOLERANCE = 1e-4
RETRY_SECONDS = 60.0  # before a champion that failed to load is retried
REASON = 500  # characters
log = logging.getLogger("uvicorn.error")


DIGITS = tuple("0123456789")
Network = MicroBatcher | OnnxGenerator | OnnxNetwork


@dataclass(frozen=True)
class Served:
    """One champion, loaded and verified against its golden examples.

    Attributes:
        classes: the names of its classes, in the order of their labels.
        input: what files it was trained on, and is to be asked about; None if that is not known.
    """

    name: str
    kind: str
    version: int
    tags: Mapping[str, str]
    measures: Mapping[str, float]
    network: Network
    classes: Sequence[str]
    input: ServedInput | None

    @property
    def side(self) -> int:
        """Height and width in pixels of the square images it takes."""
        assert isinstance(self.network, OnnxNetwork)
        return side_of(self.network)


@dataclass(frozen=True)
class Broken:
    """A champion that failed to load, why, and when it was last tried."""

    name: str
    version: int
    reason: str
    tried: float

    def sentence(self) -> str:
        return f"{self.name} version {self.version} cannot be served: {self.reason}"


Champions = Mapping[str, Served]


class ChampionWatch:
    """Holds the current champions. `refresh` swaps them; a request keeps the ones it started with.

    A champion that fails to load is listed in `broken` under its kind. Its predecessor, if any, stays in service.
    """

    def __init__(self, dataset: str | None, threads: int):
        self.dataset, self.threads = dataset, threads
        self.current: Champions = {}
        self.broken: Mapping[str, Broken] = {}
        self.aliases: Mapping[str, Mapping[str, int]] = {}
        self.failures = 0
        self.reloads = 0

    def serving(self, kind: str) -> Served:
        """Return the champion of a kind.

        Raises:
            Problem: 503 if there is none.
        """
        served = self.current.get(kind)
        if served is None:
            broken = self.broken.get(kind)
            missing = f"There is no champion of kind {kind}. Run: deepdigits promote NAME-{kind}"
            raise Problem(503, broken.sentence() if broken else missing)
        return served

    def version_served(self, kind: str) -> int | None:
        served = self.current.get(kind)
        return served.version if served else None

    def refresh(self) -> None:
        """Load whatever changed, and survive any failure.

        If the store does not answer, the current models stay in service. If a champion fails to load, only its own kind
        is affected.
        """
        try:
            self._refresh()
        except Exception as error:
            self.failures += 1
            log.warning("could not refresh the champions: %s", described(error))

    def _refresh(self) -> None:
        client = _store()
        models: Iterator[RegisteredModel] = every(client.search_registered_models)
        self.aliases = {
            model.name: {alias: int(version) for alias, version in model.aliases.items()} for model in models
        }
        current, broken = {}, {}
        for kind, (name, version) in champions_of(self.aliases, self.dataset).items():
            found = self._keep_or_load(client, kind, name, version)
            if isinstance(found, Broken):
                broken[kind] = found
                if kind in self.current:
                    current[kind] = self.current[kind]
            else:
                current[kind] = found
        changed = current != self.current
        self.current, self.broken = current, broken
        if changed:
            self.reloads += 1
            log.info("serving %s", ", ".join(f"{one.name} version {one.version}" for one in current.values()))

    def _keep_or_load(self, client: MlflowClient, kind: str, name: str, version: int) -> Served | Broken:
        for known in (self.current.get(kind), self.broken.get(kind)):
            if known is None or (known.name, known.version) != (name, version):
                continue
            if isinstance(known, Served) or time.monotonic() - known.tried < RETRY_SECONDS:
                return known
        try:
            return load(client, name, version, self.threads)
        except Exception as error:
            broken = Broken(name, version, described(error), time.monotonic())
            log.error("%s", broken.sentence())
            return broken


def _store() -> MlflowClient:
    """Open the store. A server never recreates a store that was removed.

    Raises:
        UserError: the store is missing or does not answer.
    """
    if store_uri() == DEFAULT_URI and not (STORE_DIR / "mlflow.db").is_file():
        raise UserError(f"{STORE_DIR}/mlflow.db is missing.")
    return open_store()


def described(error: Exception) -> str:
    """Format an error on one line with credentials masked. Errors other than `UserError` get a type prefix."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return masked(" ".join(text.split()))[:REASON]


def champions_of(aliases: Mapping[str, Mapping[str, int]], dataset: str | None) -> dict[str, tuple[str, int]]:
    """Map each kind to its champion's name and version.

    The dataset is `dataset` if given, else MNIST if it has champions, else the first dataset that has any.
    """
    champions = {name: found[CHAMPION] for name, found in aliases.items() if CHAMPION in found}
    datasets = sorted({name.rpartition("-")[0] for name in champions})
    chosen = dataset or ("mnist" if "mnist" in datasets else next(iter(datasets), ""))
    return {
        kind: (f"{chosen}-{kind}", champions[f"{chosen}-{kind}"]) for kind in KINDS if f"{chosen}-{kind}" in champions
    }


def load(client: MlflowClient, name: str, version: int, threads: int) -> Served:
    """Fetch a version and verify it.

    Raises:
        UserError: its file is not the registered one, or does not reproduce its golden examples.
        Exception: whatever the libraries raise when they read a damaged file.
    """
    entry = find(client, f"{name}/{version}", CHAMPION)
    with tempfile.TemporaryDirectory() as folder:
        model = fetch(entry, Path(folder), store_uri())
        difference, _ = golden_difference(model.onnx, model.files / "golden.npz")
        if difference > GOLDEN_TOLERANCE:
            raise UserError(f"{model.title} differs from its golden examples by {difference:.2g}; it is not served.")
        return opened(name, version, model.onnx, threads, model.tags, measures_of(client, entry))


def opened(
    name: str, version: int, onnx: Path, threads: int, tags: Mapping[str, str], measures: Mapping[str, float]
) -> Served:
    """A version with what its file says about it.

    A file without the names of its classes is one of digits, from the time before they were written into it.

    Raises:
        UserError: it is a network for scenes whose size is not fixed.
    """
    kind = name.rpartition("-")[2]
    network: Network
    if kind in ("cnn", "rnn"):
        classifier = OnnxClassifier(onnx, threads)
        network, session = MicroBatcher(classifier.probabilities), classifier.session
    else:
        network = OnnxGenerator(onnx, threads) if kind == "gan" else OnnxNetwork(onnx, threads)
        session = network.session
    if isinstance(network, OnnxNetwork):
        side_of(network)
    facts = session.get_modelmeta().custom_metadata_map
    classes = tuple(json.loads(facts[CLASSES])) if CLASSES in facts else DIGITS
    given = facts.get(INPUT, "digits" if classes == DIGITS else None)
    return Served(name, kind, version, tags, measures, network, classes, cast("ServedInput | None", given))


def side_of(network: OnnxNetwork) -> int:
    """Read the side length, in pixels, of a network's square input images from its file.

    Raises:
        UserError: the file does not specify it.
    """
    shapes = {entry.name: entry.shape for entry in network.session.get_inputs()}
    shape: Sequence[int | str] = shapes.get("images", [])
    if len(shape) != 3 or shape[1] != shape[2] or not isinstance(shape[2], int):
        raise UserError(f"The model does not take square images: its input has the shape {shape}.")
    return shape[2]
