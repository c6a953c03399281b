"""The models being served: the champions of one dataset, replaced whole when an alias moves."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from deepdigits.errors import UserError
from deepdigits.onnx_models import OnnxClassifier, OnnxGenerator, OnnxNetwork, golden_difference
from deepdigits.promotion.registered import fetch, find, measures_of
from deepdigits.promotion.transaction import CHAMPION
from deepdigits.serving.problems import Problem
from deepdigits.serving.together import Together
from deepdigits.tracking import open_store, store_uri

KINDS = ("cnn", "rnn", "gan", "detector", "segmenter", "swap")
GOLDEN_TOLERANCE = 1e-4
log = logging.getLogger("uvicorn.error")


Network = Together | OnnxGenerator | OnnxNetwork


@dataclass(frozen=True)
class Served:
    """One champion, loaded and proved by its golden examples."""

    name: str
    kind: str
    version: int
    tags: Mapping[str, str]
    measures: Mapping[str, float]
    network: Network


Champions = Mapping[str, Served]


class ChampionWatch:
    """Holds the current champions; `refresh` exchanges them, and a request keeps those that it began with."""

    def __init__(self, dataset: str | None, threads: int):
        self.dataset, self.threads = dataset, threads
        self.current: Champions = {}
        self.aliases: Mapping[str, Mapping[str, int]] = {}
        self.failures = 0
        self.reloads = 0

    def serving(self, kind: str) -> Served:
        """The champion of a kind.

        Raises:
            Problem: 503, there is none.
        """
        served = self.current.get(kind)
        if served is None:
            raise Problem(503, f"There is no champion of kind {kind}. Make one: deepdigits promote NAME-{kind}")
        return served

    def refresh(self) -> None:
        """Load what has changed. A store that does not answer, or a file that is not what was registered, leaves the
        present models at work."""
        try:
            client = open_store()
            self.aliases = {
                model.name: {alias: int(version) for alias, version in model.aliases.items()}
                for model in client.search_registered_models()
            }
            wanted = champions_of(self.aliases, self.dataset)
            if wanted == {kind: (served.name, served.version) for kind, served in self.current.items()}:
                return
            self.current = {kind: self._keep_or_load(client, kind, *which) for kind, which in wanted.items()}
            self.reloads += 1
            log.info("serving %s", ", ".join(f"{one.name} version {one.version}" for one in self.current.values()))
        except (UserError, MlflowException) as error:
            self.failures += 1
            log.warning("the champions could not be read anew: %s", error)

    def _keep_or_load(self, client: MlflowClient, kind: str, name: str, version: int) -> Served:
        kept = self.current.get(kind)
        if kept and (kept.name, kept.version) == (name, version):
            return kept
        return load(client, name, version, self.threads)


def champions_of(aliases: Mapping[str, Mapping[str, int]], dataset: str | None) -> dict[str, tuple[str, int]]:
    """Name and version of each champion by kind; of MNIST, or else of the first dataset that has champions, unless
    `dataset` is given."""
    champions = {name: found[CHAMPION] for name, found in aliases.items() if CHAMPION in found}
    datasets = sorted({name.rpartition("-")[0] for name in champions})
    chosen = dataset or ("mnist" if "mnist" in datasets else next(iter(datasets), ""))
    return {
        kind: (f"{chosen}-{kind}", champions[f"{chosen}-{kind}"]) for kind in KINDS if f"{chosen}-{kind}" in champions
    }


def load(client: MlflowClient, name: str, version: int, threads: int) -> Served:
    """Fetch a version and try it.

    Raises:
        UserError: its file is not the registered one, or does not reproduce its golden examples.
    """
    entry = find(client, f"{name}/{version}", CHAMPION)
    with tempfile.TemporaryDirectory() as folder:
        model = fetch(entry, Path(folder), store_uri())
        difference, _ = golden_difference(model.onnx, model.files / "golden.npz")
        if difference > GOLDEN_TOLERANCE:
            raise UserError(f"{model.title} differs from its golden examples by {difference:.2g}; it is not served.")
        network = open_network(model.kind, model.onnx, threads)
    measures = measures_of(client, entry)
    return Served(name, model.kind, version, model.tags, measures, network)


def open_network(kind: str, onnx: Path, threads: int) -> Network:
    if kind == "gan":
        return OnnxGenerator(onnx, threads)
    if kind in ("cnn", "rnn"):
        return Together(OnnxClassifier(onnx, threads).probabilities)
    return OnnxNetwork(onnx, threads)
