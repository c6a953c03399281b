"""The API against its own schema: schemathesis generates requests from it and checks the responses against it."""

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
def test_the_api_conforms_to_its_schema(app: ASGIApp, operation: str, mode: schemathesis.GenerationMode) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    method, path = operation.split()
    if mode == schemathesis.GenerationMode.NEGATIVE and method == "GET":
        pytest.skip("nothing in this request could be invalid")

    # A schema cannot say that a file is a picture, that there are as many seeds as digits, or that 5.0 is not a digit.
    indescribable = [positive_data_acceptance] if method == "POST" else []

    @given(schema[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def holds(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=indescribable)

    holds()


def test_every_operation_is_fuzzed(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    documented = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert documented == set(OPERATIONS)
