"""Exports networks to ONNX files with the same bytes everywhere, and checks them against golden examples."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from deepdigits.core.errors import UserError
from deepdigits.export.runtime import CLASSES, INPUT, WEIGHTS_SHA256, difference

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Golden:
    """Inputs and PyTorch's outputs for them, keyed by their names in the ONNX file."""

    inputs: Arrays
    outputs: Arrays

    def arrays(self) -> Arrays:
        """One flat mapping, for storage."""
        return {f"in_{key}": value for key, value in self.inputs.items()} | {
            f"out_{key}": value for key, value in self.outputs.items()
        }


class Exported(nn.Module):
    """A network with the interface of its ONNX file: tensors with these names in, tensors with these names out. The
    first dimension of each is the batch."""

    input_names: ClassVar[tuple[str, ...]]
    output_names: ClassVar[tuple[str, ...]]


def golden_examples(module: Exported, inputs: Arrays) -> Golden:
    """Compute the expected outputs in PyTorch."""
    with torch.inference_mode():
        answers = module(*(torch.from_numpy(inputs[name]) for name in module.input_names))
    return Golden(inputs, {name: answer.numpy() for name, answer in zip(module.output_names, answers, strict=True)})


def export_onnx(module: Exported, inputs: Arrays) -> bytes:
    """Export with a dynamic batch size.

    The exporter's metadata (file paths, stack traces) is stripped, so equal networks give equal bytes in any checkout.
    """
    batch = torch.export.Dim("n", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module.eval(),
            tuple(torch.from_numpy(inputs[name]) for name in module.input_names),
            dynamo=True,
            verbose=False,
            input_names=list(module.input_names),
            output_names=list(module.output_names),
            dynamic_shapes={name: {0: batch} for name in module.input_names},
        )
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def describe_in_file(data: bytes, weights_sha256: str, classes: Sequence[str], given: str | None = None) -> bytes:
    """The same ONNX file, with metadata.

    Args:
        weights_sha256: the hash of its source weights.
        classes: the names of its classes.
        given: what files it is for, if it was trained on own data.
    """
    proto = onnx.load_from_string(data)
    facts = {WEIGHTS_SHA256: weights_sha256, CLASSES: json.dumps(list(classes))}
    onnx.helper.set_model_props(proto, facts | ({INPUT: given} if given else {}))
    return bytes(proto.SerializeToString(deterministic=True))


def check_onnx(data: bytes, golden: Golden, tolerance: float, name: str) -> float:
    """Run the golden inputs, and the first of them alone, through ONNX Runtime; return the largest `difference`.

    Raises:
        UserError: an output differs from PyTorch's by more than `tolerance`, or in shape or dtype.
    """
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = list(golden.outputs)
    whole = session.run(names, golden.inputs)
    first = session.run(names, {key: value[:1] for key, value in golden.inputs.items()})
    worst = 0.0
    for output, found, found_first in zip(names, whole, first, strict=True):
        expected = golden.outputs[output]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise UserError(
                f"{name}: the ONNX file returns {output} as {found.dtype} {found.shape}, "
                f"not {expected.dtype} {expected.shape}."
            )
        got, want = np.concatenate([found, found_first]), np.concatenate([expected, expected[:1]])
        worst = max(worst, difference(got, want))
    if worst > tolerance:
        raise UserError(
            f"{name}: the ONNX file differs from PyTorch by {worst:.2g}, more than "
            f"package.onnx_tolerance ({tolerance:g})."
        )
    return worst


def _strip(proto: onnx.ModelProto) -> None:
    proto.ClearField("metadata_props")
    proto.ClearField("doc_string")
    _strip_graph(proto.graph)
    for function in proto.functions:
        function.ClearField("metadata_props")
        _strip_nodes(function.node)
        _clear_all(function.value_info)


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.ClearField("metadata_props")
    graph.ClearField("doc_string")
    for entries in (graph.input, graph.output, graph.value_info, graph.initializer):
        _clear_all(entries)
    _strip_nodes(graph.node)


def _strip_nodes(nodes: object) -> None:
    for node in nodes:  # type: ignore[attr-defined]
        _clear_all([node])
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _strip_graph(graph)


def _clear_all(entries: object) -> None:
    for entry in entries:  # type: ignore[attr-defined]
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
