"""An address is shown with its host and nothing that may be secret, wherever it occurs in a text."""

import os
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepdigits.core.addresses import masked

# Distinctive, because a secret such as "e" or a part of the host would be found in any text.
SECRET = st.text("abXYZ019/@%:?#&=+~!$'\"()[]{},;<> é", min_size=1, max_size=12).map(lambda text: f"Q{text}9Kq")
HOST = st.sampled_from(["mlflow.example", "mlflow.example:5000", "127.0.0.1:5432", "localhost:5000", "[::1]:5000"])
SCHEME = st.sampled_from(["http", "https", "postgresql", "postgresql+psycopg2", "mysql+pymysql", "s3", "HTTPS"])
CONTEXT = st.sampled_from(
    ["{}", "{} does not answer", "API request to {} failed with exception 'x'", "'{}'", "({})", "a\n{}\nb", "x={}."]
)


def escaped(secret: str) -> str:
    return quote(secret, safe="")


@given(SECRET, HOST, SCHEME, CONTEXT, st.sampled_from(["u:{}@", "{}@", "{}:x@", ":{}@", "{}:{}@"]))
def test_an_escaped_login_is_hidden(secret: str, host: str, scheme: str, context: str, login: str) -> None:
    address = f"{scheme}://{login.replace('{}', escaped(secret))}{host}/path"
    shown = masked(context.format(address))
    assert escaped(secret) not in shown
    assert f"{scheme}://***@{host}/***" in shown


@given(SECRET.map(lambda text: text.replace(" ", "")), HOST, SCHEME, CONTEXT)
def test_a_raw_password_is_hidden_whatever_it_contains(secret: str, host: str, scheme: str, context: str) -> None:
    shown = masked(context.format(f"{scheme}://user:{secret}@{host}/path"))
    assert secret not in shown
    assert "user" not in shown


@given(st.text("abXYZ01/@%+~", min_size=1, max_size=12).map(lambda text: f"Q{text}9Kq"), HOST, SCHEME, CONTEXT)
def test_masking_a_raw_password_with_slashes_and_at_signs_keeps_the_host(
    secret: str, host: str, scheme: str, context: str
) -> None:
    shown = masked(context.format(f"{scheme}://user:{secret}@{host}/path"))
    assert secret not in shown
    assert host in shown


@given(SECRET, HOST, SCHEME, CONTEXT, st.booleans())
@pytest.mark.parametrize(
    "address",
    [
        "{}/?access_token={}",
        "{}?token={}&x=1",
        "{}/mnist?a=b&X-Amz-Signature={}",
        "{}/?{}",
        "{}/#{}",
        "{}/{}/x",
        "{}/{}",
    ],
)
def test_queries_fragments_and_paths_are_hidden(
    address: str, secret: str, host: str, scheme: str, context: str, login: bool
) -> None:
    value = escaped(secret)
    shown = masked(context.format(f"{scheme}://{'me:pw@' * login}{address.format(host, value)}"))
    assert value not in shown
    assert host in shown


@given(SECRET.filter(lambda text: " " not in text), HOST, st.sampled_from(["{}/{}", "{}/?token={}", "{}/#{}"]))
def test_a_raw_path_or_query_is_hidden(secret: str, host: str, address: str) -> None:
    assert secret not in masked(f"https://{address.format(host, secret)} is not there")


@given(SECRET, HOST, SCHEME, CONTEXT)
def test_an_address_from_the_environment_is_masked_as_a_whole(
    secret: str, host: str, scheme: str, context: str
) -> None:
    before = os.environ.get("MNIST_MIRROR")
    os.environ["MNIST_MIRROR"] = address = f"{scheme}://user:{secret}@{host}/a path/{secret}"
    try:
        assert secret not in masked(context.format(address))
    finally:
        os.environ.pop("MNIST_MIRROR") if before is None else os.environ.update(MNIST_MIRROR=before)


@given(SECRET.map(escaped))
def test_paths_that_requests_reports_without_a_host_are_hidden(secret: str) -> None:
    message = (
        f"Max retries exceeded with url: /{secret}/api?token={secret} (Caused by x) for /api?access_token={secret}"
    )
    assert secret not in masked(message)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sqlite:////tmp/a/mlflow.db cannot be opened", "sqlite:////tmp/a/mlflow.db cannot be opened"),
        ("sqlite:///mlruns/mlflow.db?mode=ro", "sqlite:///mlruns/mlflow.db?***"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("me:password@mlflow.example is not there", "***@mlflow.example is not there"),
        ("http://u:two words@mlflow.example/x failed", "http://***@mlflow.example/***"),
        ("mnist-cnn@champion, models:/m/1: is that so? Yes.", "mnist-cnn@champion, models:/m/1: is that so? Yes."),
        ("['https://a.example/x', 'https://b.example/y']", "['https://a.example/***', 'https://b.example/***']"),
    ],
)
def test_only_secret_parts_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@given(st.text("ab:/@?#%[].'\" \n\\é", max_size=40))
def test_any_text_can_be_masked(text: str) -> None:
    masked(text)
