"""Assigns images to train, validation and test: as given, by shares, or so that no group is in two of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepdigits.core.errors import UserError
from deepdigits.data.described import Splitting
from deepdigits.data.digits.splits import SPLITS, stratified_rows
from deepdigits.data.own.labelled import Labelled

Rows = dict[str, np.ndarray]


def rows_of(data: Labelled, config: Splitting) -> Rows:
    """The rows of each split, as the dataset's file says; see `split_rows`."""
    held_out = {name: getattr(config.held_out, name) for name in ("validation", "test")}
    return split_rows(data, {"validation": config.validation, "test": config.test}, config.seed, held_out)


def split_rows(
    data: Labelled,
    amounts: dict[str, float],
    seed: int,
    held_out: dict[str, Sequence[str]] | None = None,
) -> Rows:
    """The rows of each split, in ascending order.

    Splits that the source gives are kept. What it does not give is split off train by `amounts`, stratified by class,
    or by whole groups if the source has groups.

    Args:
        amounts: "validation" and "test" -> how many images, or which share of those that no other split has.
        held_out: "validation" and "test" -> groups that must be there; otherwise groups are drawn.

    Raises:
        UserError: there are too few groups or images, or a group is unknown or would be in two splits.
    """
    if data.splits is None:
        rows: Rows = {"train": np.arange(len(data))}
    else:
        rows = {name: np.flatnonzero(data.splits == name) for name in SPLITS if (data.splits == name).any()}
    if "train" not in rows:
        raise UserError("The source says which images are for validation or test, but has none to train on.")
    for name in ("test", "validation"):
        if name not in rows:
            wanted = list((held_out or {}).get(name, ()))
            rows["train"], rows[name] = _split_off(data, rows["train"], name, amounts[name], seed, wanted)
    return {name: rows[name] for name in SPLITS}


def _split_off(
    data: Labelled, rows: np.ndarray, name: str, amount: float, seed: int, wanted: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    size = amount if isinstance(amount, int) else round(amount * len(rows))
    if data.groups is not None:
        chosen = np.isin(data.groups[rows], _choose(data.groups[rows], name, size, seed, wanted))
        return rows[~chosen], rows[chosen]
    if wanted:
        raise UserError(f"{', '.join(wanted)} cannot be held out for {name}: the source has no groups.")
    labels = data.labels[rows]
    few = [data.classes[label] for label in np.unique(labels) if (labels == label).sum() < 2]
    if few or size < len(np.unique(labels)):
        reason = (
            f"class {few[0]!r} has only one image"
            if few
            else f"{size} images cannot hold {len(np.unique(labels))} classes"
        )
        raise UserError(
            f"{name} cannot be split off {len(rows)} images: {reason}. Add images, or give the splits yourself."
        )
    others, taken = stratified_rows(labels, size, seed)
    return rows[others], rows[taken]


def _choose(groups: np.ndarray, name: str, images: int, seed: int, wanted: list[str]) -> list[str]:
    found, counts = np.unique(groups, return_counts=True)
    known = [str(name) for name in found]
    if unknown := sorted(set(wanted) - set(known)):
        raise UserError(f"There is no group {unknown[0]!r} to hold out for {name}; there are {', '.join(known[:20])}.")
    if wanted:
        return wanted
    if len(known) < 2:
        raise UserError(f"{name} cannot be split off by group: only {known[0]!r} is left to train on.")
    order = np.random.default_rng(seed).permutation(len(known))
    chosen, size = [known[order[0]]], int(counts[order[0]])
    for index in order[1:-1]:  # as long as that comes closer to the number wanted
        if abs(size + counts[index] - images) >= abs(size - images):
            break
        chosen.append(known[index])
        size += int(counts[index])
    return chosen
