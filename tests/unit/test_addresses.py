"""What is shown of an address names the host and nothing that may be secret, wherever the address stands."""

import os
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepdigits.core.addresses import masked

# Distinctive: a secret that is "e" or part of the host would be found in any text.
SECRET = st.text("abXYZ019/@%:?#&=+~!$'\"()[]{},;<> é", min_size=1, max_size=12).map(lambda text: f"Q{text}9Kq")
HOST = st.sampled_from(["mlflow.example", "mlflow.example:5000", "127.0.0.1:5432", "localhost:5000", "[::1]:5000"])
SCHEME = st.sampled_from(["http", "https", "postgresql", "postgresql+psycopg2", "mysql+pymysql", "s3", "HTTPS"])
AROUND = st.sampled_from(
    ["{}", "{} does not answer", "API request to {} failed with exception 'x'", "'{}'", "({})", "a\n{}\nb", "x={}."]
)


def whole(secret: str) -> str:
    return quote(secret, safe="")


@given(SECRET, HOST, SCHEME, AROUND, st.sampled_from(["u:{}@", "{}@", "{}:x@", ":{}@", "{}:{}@"]))
def test_an_escaped_login_is_hidden(secret: str, host: str, scheme: str, around: str, login: str) -> None:
    address = f"{scheme}://{login.replace('{}', whole(secret))}{host}/path"
    shown = masked(around.format(address))
    assert whole(secret) not in shown
    assert f"{scheme}://***@{host}/***" in shown


@given(SECRET.map(lambda text: text.replace(" ", "")), HOST, SCHEME, AROUND)
def test_a_raw_password_is_hidden_whatever_is_in_it(secret: str, host: str, scheme: str, around: str) -> None:
    shown = masked(around.format(f"{scheme}://user:{secret}@{host}/path"))
    assert secret not in shown
    assert "user" not in shown


@given(st.text("abXYZ01/@%+~", min_size=1, max_size=12).map(lambda text: f"Q{text}9Kq"), HOST, SCHEME, AROUND)
def test_a_raw_password_with_slashes_and_ats_leaves_the_host(secret: str, host: str, scheme: str, around: str) -> None:
    shown = masked(around.format(f"{scheme}://user:{secret}@{host}/path"))
    assert secret not in shown
    assert host in shown


@given(SECRET, HOST, SCHEME, AROUND, st.booleans())
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
    address: str, secret: str, host: str, scheme: str, around: str, login: bool
) -> None:
    value = whole(secret)
    shown = masked(around.format(f"{scheme}://{'me:pw@' * login}{address.format(host, value)}"))
    assert value not in shown
    assert host in shown


@given(SECRET.filter(lambda text: " " not in text), HOST, st.sampled_from(["{}/{}", "{}/?token={}", "{}/#{}"]))
def test_a_raw_path_or_query_is_hidden(secret: str, host: str, address: str) -> None:
    assert secret not in masked(f"https://{address.format(host, secret)} is not there")


@given(SECRET, HOST, SCHEME, AROUND)
def test_an_address_of_the_environment_is_known_whole(secret: str, host: str, scheme: str, around: str) -> None:
    before = os.environ.get("MNIST_MIRROR")
    os.environ["MNIST_MIRROR"] = address = f"{scheme}://user:{secret}@{host}/a path/{secret}"
    try:
        assert secret not in masked(around.format(address))
    finally:
        os.environ.pop("MNIST_MIRROR") if before is None else os.environ.update(MNIST_MIRROR=before)


@given(SECRET.map(whole))
def test_what_requests_says_without_the_host_is_hidden(secret: str) -> None:
    said = f"Max retries exceeded with url: /{secret}/api?token={secret} (Caused by x) for /api?access_token={secret}"
    assert secret not in masked(said)


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
def test_what_is_no_secret_stays(text: str, shown: str) -> None:
    assert masked(text) == shown


@given(st.text("ab:/@?#%[].'\" \n\\é", max_size=40))
def test_any_text_can_be_masked(text: str) -> None:
    masked(text)
