"""The API against its own description: schemathesis draws requests from it and holds the answers against it."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient
from starlette.types import ASGIApp

POSTS = ("POST /v1/classify", "POST /v1/detect", "POST /v1/segment", "POST /v1/swap", "POST /v1/generate")
OPERATIONS = (*POSTS, "GET /v1/models", "GET /healthz", "GET /readyz", "GET /metrics")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
def test_the_api_keeps_what_its_description_promises(
    app: ASGIApp, operation: str, mode: schemathesis.GenerationMode
) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    method, path = operation.split()
    if mode == schemathesis.GenerationMode.NEGATIVE and method == "GET":
        pytest.skip("nothing in this request could be wrong")

    # A description cannot say that a file is a picture, that there are as many seeds as digits, or that 5.0 is none.
    indescribable = [positive_data_acceptance] if method == "POST" else []

    @given(schema[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def holds(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=indescribable)

    holds()


def test_every_operation_is_fuzzed(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    described = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert described == set(OPERATIONS)
