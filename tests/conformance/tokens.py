"""JSON Web Tokens, made for a case, and the public keys that they are verified with.

`tokens` of a case says what tokens there are (name to `{alg, key, kid, claims}` and more, see `sign`); `{token:name}`
in what the client sends is one of them. In the configuration, and in answers, `{jwks}` is the set of all public keys
but `other` (those of token_keys.json, whose names are their ids), `{jwks_rsa}` that of one, `{jwks_rsa_bare}` the same
without id and algorithm, `{jwks_certificate}` a certificate of it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

KEYS = Path(__file__).parent / "token_keys.json"
ALGORITHMS = {"rsa": "RS256", "other": "RS256", "p256": "ES256", "p384": "ES384", "p521": "ES512", "ed": "EdDSA"}
_CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}


@cache
def _keys() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(KEYS.read_text())
    return found


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")


@cache
def words() -> dict[str, str]:
    """What stands for sets of public keys."""
    public = {
        name: {key: value for key, value in jwk.items() if key not in ("d", "p", "q")} for name, jwk in _keys().items()
    }
    named = {
        name: {**jwk, "kid": name, **({"alg": ALGORITHMS[name]} if name in ALGORITHMS else {})}
        for name, jwk in public.items()
    }
    found = {"jwks": json.dumps({"keys": [jwk for name, jwk in named.items() if name != "other"]})}
    for name in public:
        found[f"jwks_{name}"] = json.dumps({"keys": [named[name]]})
        found[f"jwks_{name}_bare"] = json.dumps({"keys": [public[name]]})
    found["jwks_certificate"] = json.dumps({"rsa": _certificate("rsa")})
    return found


def _certificate(name: str) -> str:
    """One that the key has signed for itself, in PEM."""
    key = _private(_keys()[name])
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    times = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(who, who, key.public_key(), 1, *times).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def _private(jwk: dict[str, str]) -> Any:
    if jwk["kty"] == "OKP":
        return ed25519.Ed25519PrivateKey.from_private_bytes(_bytes(jwk["d"]))
    if jwk["kty"] == "EC":
        return ec.derive_private_key(_number(jwk["d"]), _CURVES[jwk["crv"]]())
    n, e, d, p, q = (_number(jwk[name]) for name in ("n", "e", "d", "p", "q"))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, n)
    )
    return numbers.private_key()


def sign(spec: dict[str, Any]) -> str:
    """See `_sign`; the same each time, although some signatures have chance in them."""
    return _sign(json.dumps(spec))


@cache
def _sign(text: str) -> str:
    """A token: `claims` (a mapping, or a text as it stands) signed by `key` with `alg`.

    `header` adds to the header or, as a text, replaces it; `salt` is the length of the salt of PS algorithms;
    `signature` replaces the signature; `padded` keeps the padding of base64.
    """
    spec = json.loads(text)
    key = spec.get("key", "rsa")
    alg = spec.get("alg", ALGORITHMS.get(key, "HS256"))
    header, claims = spec.get("header", {}), spec.get("claims", {})
    if isinstance(header, dict):
        kid = {"kid": spec["kid"]} if "kid" in spec else {}
        header = json.dumps({"alg": alg, **kid, **header})
    if not isinstance(claims, str):
        claims = json.dumps(claims)
    encode = (lambda data: base64.urlsafe_b64encode(data).decode()) if spec.get("padded") else base64url
    signed = f"{encode(header.encode('latin-1'))}.{encode(claims.encode('latin-1'))}"
    signature = spec.get("signature")
    if signature is None:
        signature = encode(_signature(alg, _keys()[key], signed.encode(), spec))
    return f"{signed}.{signature}"


def _signature(alg: str, jwk: dict[str, str], data: bytes, spec: dict[str, Any]) -> bytes:
    bits = alg[-3:] if alg[-3:] in ("256", "384", "512") else "256"
    digest = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[bits]()
    if jwk["kty"] == "oct":
        return hmac.new(_bytes(jwk["k"]), data, getattr(hashlib, f"sha{bits}")).digest()
    key = _private(jwk)
    if jwk["kty"] == "OKP":
        return key.sign(data)
    if jwk["kty"] == "EC":
        size = len(_bytes(jwk["d"]))
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    how: Any = padding.PKCS1v15()
    if alg.startswith("PS"):
        how = padding.PSS(padding.MGF1(digest), spec.get("salt", digest.digest_size))
    return key.sign(data, how, digest)
