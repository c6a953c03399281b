"""Builds responses that are mostly numbers. orjson serialises the arrays directly."""

from __future__ import annotations

import numpy as np
import orjson
from fastapi.responses import Response

from deepdigits.serving.champions import Served


def array_answer(served: Served, name: str, array: np.ndarray) -> Response:
    """Return JSON with the model, its version, and `array` under the key `name`."""
    answer = {"model": served.name, "version": served.version, name: np.ascontiguousarray(array)}
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
