"""Tokens and keys of strangers; what Envoy makes of them is in tests/conformance/scenarios/jwt_authn.yaml."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minienvoy.extensions.filters.http.jwt_authn.encoding import base64url_decode, read_object, write_json
from minienvoy.extensions.filters.http.jwt_authn.keys import KeySet
from minienvoy.extensions.filters.http.jwt_authn.status import Refusal, Status
from minienvoy.extensions.filters.http.jwt_authn.token import Token

HS256 = (
    b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
    b".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    b".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)
"""RFC 7515 A.1."""
HS256_KEY = {
    "kty": "oct",
    "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
}
ES256 = (
    b"eyJhbGciOiJFUzI1NiJ9"
    b".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    b".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
"""RFC 7515 A.3."""
ES256_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
EDDSA = (
    b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    b".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
"""RFC 8037 A.4; its payload is no JSON."""


def keys(*jwks: dict[str, Any]) -> KeySet:
    return KeySet(json.dumps({"keys": jwks}).encode())


def section(value: Any) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=")


def token_of(payload: Any, header: Any = None) -> Token:
    return Token(b".".join((section(header or {"alg": "HS256"}), section(payload), b"YQ")))


@pytest.mark.parametrize(("text", "key"), [(HS256, HS256_KEY), (ES256, ES256_KEY)])
def test_examples_of_the_rfc(text: bytes, key: dict[str, Any]) -> None:
    token = Token(text)
    assert (token.issuer, token.expires) == ("joe", 1300819380)
    assert keys(key).verify(token) is Status.OK


@pytest.mark.parametrize("text", [HS256, ES256])
def test_a_changed_bit_is_noticed(text: bytes) -> None:
    head, _, signature = text.rpartition(b".")
    changed = bytearray(base64url_decode(signature) or b"")
    changed[7] ^= 1
    token = Token(head + b"." + base64.urlsafe_b64encode(bytes(changed)).rstrip(b"="))
    assert keys(HS256_KEY, ES256_KEY).verify(token) is Status.VERIFICATION_FAIL


def test_a_public_key_is_no_secret() -> None:
    """Who knows the key of an issuer must not be able to sign with it, by calling it HS256."""
    assert keys(ES256_KEY).verify(Token(HS256)) is Status.VERIFICATION_FAIL


def test_nothing_verifies_what_is_not_signed() -> None:
    with pytest.raises(Refusal) as refusal:
        token_of({}, {"alg": "none"})
    assert refusal.value.status is Status.HEADER_NOT_IMPLEMENTED_ALG


def test_a_key_is_chosen_by_its_id_and_algorithm() -> None:
    token = Token(HS256)
    assert keys({**HS256_KEY, "kid": "a"}).verify(token) is Status.OK
    assert keys({**HS256_KEY, "alg": "HS512"}).verify(token) is Status.KID_ALG_MISMATCH
    named = token_of({}, {"alg": "HS256", "kid": "b"})
    assert keys({**HS256_KEY, "kid": "a"}).verify(named) is Status.KID_ALG_MISMATCH
    assert keys(HS256_KEY).verify(named) is Status.VERIFICATION_FAIL


@pytest.mark.parametrize(
    ("signature", "status"),
    [
        (b"AAAA", Status.VERIFICATION_FAIL),
        (section(bytes(64)), Status.VERIFICATION_FAIL),
        (section(b"\xff" * 64), Status.VERIFICATION_FAIL),
        (section(b"\xff" * 9000), Status.VERIFICATION_FAIL),
    ],
)
def test_odd_signatures(signature: bytes, status: Status) -> None:
    for algorithm in ("ES256", "ES384", "ES512", "RS256", "PS512", "HS256", "EdDSA"):
        token = Token(b".".join((section({"alg": algorithm}), section({}), signature)))
        assert keys(ES256_KEY, HS256_KEY).verify(token) is status


def test_a_signature_of_ed25519_has_one_length() -> None:
    token = Token(b".".join((section({"alg": "EdDSA"}), section({}), b"AAAA")))
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert keys(key).verify(token) is Status.ED25519_SIGNATURE_WRONG_LENGTH


def test_ed25519() -> None:
    head, _, signature = EDDSA.rpartition(b".")
    token = Token(b".".join((section({"alg": "EdDSA"}), section({}), signature)))
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert keys(key).verify(token) is Status.VERIFICATION_FAIL
    token.signed = head
    assert keys(key).verify(token) is Status.OK


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_parsed(text: bytes) -> None:
    try:
        Token(text)
    except Refusal as refusal:
        assert refusal.status is not Status.OK


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
CLAIMS = st.dictionaries(st.sampled_from(["iss", "sub", "iat", "nbf", "exp", "jti", "aud", "x"]), JSON)
KEYS = st.dictionaries(
    st.sampled_from(["kty", "alg", "kid", "n", "e", "crv", "x", "y", "k"]),
    st.sampled_from(["RSA", "EC", "oct", "OKP", "AQAB", "P-256", "P-521", "Ed25519", "ES256", "RS256", "EdDSA"]) | JSON,
)


@given(CLAIMS)
def test_any_claims_are_refused_or_taken(claims: dict[str, Any]) -> None:
    try:
        token = token_of(claims)
    except Refusal:
        return
    assert isinstance(token.issuer, str)
    assert 0 <= token.expires < 2**64
    assert token.time_status(0) in (Status.OK, Status.NOT_YET_VALID)


@given(st.lists(KEYS, max_size=3))
def test_any_keys_are_refused_or_taken(jwks: list[dict[str, Any]]) -> None:
    try:
        made = keys(*jwks)
    except Refusal:
        return
    assert 0 < len(made.keys) <= len(jwks)
    assert made.verify(Token(HS256)) is not Status.OK


@pytest.mark.parametrize("depth", [99, 100, 101, 100_000])
def test_deep_claims(depth: int) -> None:
    text = b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)
    assert (read_object(text) is not None) is (depth <= 100)


@pytest.mark.parametrize(
    "text",
    [b'{"a":' + b"9" * 60_000 + b"}", b'{"a":1e999999999}', b'{"a":-1e400}', b'{"a":NaN}', b'{"a":Infinity}'],
)
def test_numbers_that_are_no_doubles(text: bytes) -> None:
    began = time.perf_counter()
    assert read_object(text) is None
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(
    "text", [b'{"a":1,"a":2}', b'{"b":[{"a":1,"\\u0061":2}]}', b"[]", b"", b"\xff", b'{"a":"\\ud800"}']
)
def test_no_objects(text: bytes) -> None:
    assert read_object(text) is None


def test_both_readers_agree() -> None:
    assert read_object(b'{"a":[1,{"b":true}]}') == read_object(b"{a:[1,{'b':true,},],}") == {"a": [1.0, {"b": True}]}


@given(JSON)
@settings(max_examples=50)
def test_json_that_is_written_can_be_read(value: Any) -> None:
    text = json.dumps({"v": value})
    read = read_object(text.encode())
    if read is not None:
        assert read_object(write_json(read).encode()) == read


@given(st.binary(max_size=40))
def test_base64url(data: bytes) -> None:
    padded = base64.urlsafe_b64encode(data)
    assert base64url_decode(padded) == base64url_decode(padded.rstrip(b"=")) == data
    if padded.endswith(b"=="):
        assert base64url_decode(padded[:-1]) is None


@pytest.mark.parametrize("text", [b"a", b"a===", b"ab+/", b"ab.c", b"=", b"ab=c"])
def test_no_base64url(text: bytes) -> None:
    assert base64url_decode(text) is None


def test_numbers_of_states_are_those_of_envoy() -> None:
    assert [Status.OK.code, Status.EXPIRED.code, Status.UNKNOWN_ISSUER.code] == [0, 3, 24]
