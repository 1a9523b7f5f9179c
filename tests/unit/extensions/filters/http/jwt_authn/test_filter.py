"""The filter among others; what Envoy does is in tests/conformance/scenarios/jwt_authn.yaml."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]

SECRET = b"abc"
PROVIDER = {"issuer": "me", "local_jwks": {"inline_string": json.dumps({"keys": [{"kty": "oct", "k": "YWJj"}]})}}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(**claims: Any) -> str:
    text = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    return f"{text}.{encoded(hmac.digest(SECRET, text.encode(), hashlib.sha256))}"


def settings(**fields: Any) -> dict[str, Any]:
    return {
        "jwt_authn": {
            "providers": {"p": {**PROVIDER, **fields}},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
        }
    }


def test_who_has_a_token_may_come_in(bench: MakeBench) -> None:
    b = bench(http_filters=settings(claim_to_headers=[{"header_name": "X-Sub", "claim_name": "sub"}]))
    b.client().get("/", f"authorization: Bearer {signed(iss='me', sub='you')}", "x-sub: mine")
    received = b.upstream.received()
    assert b"\r\nx-sub: you\r\n" in received
    assert b"mine" not in received and b"authorization" not in received
    b.upstream.send(OK)
    assert b.stats("http.jwt_authn.allowed", "http.jwt_authn.denied") == [1, 0]


@pytest.mark.parametrize(
    ("claims", "answer"),
    [
        ({"iss": "me", "exp": 1}, b"Jwt is expired"),
        ({"iss": "other"}, b"Jwt issuer is not configured"),
        ({"iss": "me", "aud": ["b"]}, b"Audiences in Jwt are not allowed"),
    ],
)
def test_who_has_none_that_will_do_may_not(bench: MakeBench, claims: dict[str, Any], answer: bytes) -> None:
    b = bench(http_filters=settings(audiences=["a"]))
    client = b.client()
    client.get("/", f"authorization: Bearer {signed(**claims)}")
    assert answer in client.received()
    assert b.stats("http.jwt_authn.allowed", "http.jwt_authn.denied") == [0, 1]


@pytest.mark.parametrize("claim", ["a\r\nx-evil: 1", "a\nb", "a\0b"])
def test_a_claim_can_not_make_a_header_of_its_own(bench: MakeBench, claim: str) -> None:
    b = bench(http_filters=settings(claim_to_headers=[{"header_name": "x-sub", "claim_name": "sub"}]))
    client = b.client()
    client.get("/", f"authorization: Bearer {signed(iss='me', sub=claim)}")
    assert b"503 Service Unavailable" in client.received()


def test_a_parameter_can_not_make_a_header(bench: MakeBench) -> None:
    b = bench(http_filters=settings())
    client = b.client()
    client.get(f"/?a=%0d%0ax-evil:%201&access_token={signed(iss='me')}")
    assert b"503 Service Unavailable" in client.received()


def test_any_number_of_tokens(bench: MakeBench) -> None:
    """They are verified one after another, not one within another."""
    fields = settings(from_headers=[{"name": "x-token"}])
    fields["jwt_authn"]["rules"][0]["requires"] = {"allow_missing_or_failed": {}}
    b = bench(http_filters=fields, hcm={"common_http_protocol_options": {"max_headers_count": 3000}})
    b.client().get("/", *["x-token: a.b.c"] * 2000)
    assert b.upstream.received()
    b.upstream.send(OK)
    assert b.stats("http.jwt_authn.allowed") == [1]
