"""Sets of keys (JWKS), and whether one of them has signed a token.

Envoy: `JwtVerify::Jwks`, `JwtVerify::verifyJwt`. A key that can not be used is left out; the set is refused if none is
left. Which hash a key takes is for the token's algorithm to say; a key with an algorithm is for that one alone.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

from .encoding import base64url_decode, read_object
from .status import Refusal, Status
from .token import Token

_CERTIFICATE: Final = ("-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n")
_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_ALGORITHM_CURVES: Final = {algorithm: curve for curve, algorithm in _CURVES.items()}
_ED25519_KEY: Final = 32
_ED25519_SIGNATURE: Final = 64
_MAX_RSA_BITS: Final = 16384
"""Longer keys are for making whoever verifies work."""

Verifies = Callable[[Token], bool]


class Key:
    """Attributes:
    verifies: has it signed that token? Raises Refusal if the answer is no for all keys.
    """

    __slots__ = ("algorithm", "kid", "verifies")

    def __init__(self, kid: str, algorithm: str, verifies: Verifies) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.verifies = verifies


class KeySet:
    """What a provider signs with."""

    __slots__ = ("keys",)

    def __init__(self, data: bytes) -> None:
        """Raises Refusal: no key can be used."""
        content = read_object(data)
        if content is None:
            raise Refusal(Status.KEYS_BAD_JSON)
        self.keys: tuple[Key, ...]
        if "keys" not in content:
            if not content or not all(map(_is_certificate, content.values())):
                raise Refusal(Status.NO_KEYS)
            self.keys = tuple(_certificate_key(name, content[name]) for name in content)
            return
        if not isinstance(content["keys"], list):
            raise Refusal(Status.BAD_KEYS)
        keys: list[Key] = []
        first: Refusal | None = None
        for each in content["keys"]:
            if isinstance(each, dict):
                try:
                    keys.append(_key(each))
                except Refusal as refusal:
                    first = first or refusal
        if not keys:
            raise first or Refusal(Status.NO_VALID_KEYS)
        self.keys = tuple(keys)

    def verify(self, token: Token) -> Status:
        """Whether one of the keys has signed it."""
        status = Status.KID_ALG_MISMATCH
        for key in self.keys:
            if token.kid and key.kid and token.kid != key.kid:
                continue
            if key.algorithm and key.algorithm != token.algorithm:
                continue
            try:
                if key.verifies(token):
                    return Status.OK
            except Refusal as refusal:
                return refusal.status
            status = Status.VERIFICATION_FAIL
        return status


def _is_certificate(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_CERTIFICATE[0]) and value.endswith(_CERTIFICATE[1])


def _certificate_key(name: str, text: str) -> Key:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise Refusal(Status.X509_PARSE_ERROR) from None
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise Refusal(Status.X509_NO_KEY) from None
    if not isinstance(key, RSAPublicKey):
        raise Refusal(Status.X509_NO_KEY)
    return Key(name, "", _rsa_verifier(key))


def _key(proto: dict[str, Any]) -> Key:
    if "kty" not in proto:
        raise Refusal(Status.MISSING_KTY)
    kind = proto["kty"]
    if not isinstance(kind, str):
        raise Refusal(Status.BAD_KTY)
    kid, algorithm = (value if isinstance(value := proto.get(name), str) else "" for name in ("kid", "alg"))
    make = {"EC": _ec, "RSA": _rsa, "oct": _oct, "OKP": _okp}.get(kind)
    if make is None:
        raise Refusal(Status.NOT_IMPLEMENTED_KTY)
    return Key(kid, algorithm, make(proto, algorithm))


def _field(proto: dict[str, Any], name: str, missing: Status, bad: Status) -> bytes:
    if name not in proto:
        raise Refusal(missing)
    if not isinstance(proto[name], str):
        raise Refusal(bad)
    text: str = proto[name]
    return text.encode()


def _decoded(text: bytes, status: Status) -> bytes:
    data = base64url_decode(text)
    if not data:
        raise Refusal(status)
    return data


class _Hashes:
    """Made once: the module is large."""

    @cached_property
    def of(self) -> dict[str, Any]:
        from cryptography.hazmat.primitives import hashes

        return {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


_HASHES: Final = _Hashes()


def _rsa(proto: dict[str, Any], algorithm: str) -> Verifies:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    if algorithm and algorithm[:2] not in ("RS", "PS"):
        raise Refusal(Status.RSA_BAD_ALG)
    texts = (
        _field(proto, "n", Status.RSA_MISSING_N, Status.RSA_BAD_N),
        _field(proto, "e", Status.RSA_MISSING_E, Status.RSA_BAD_E),
    )
    modulus, exponent = (int.from_bytes(_decoded(text, Status.RSA_PARSE_ERROR), "big") for text in texts)
    if exponent not in (3, 65537) or modulus.bit_length() > _MAX_RSA_BITS:
        raise Refusal(Status.RSA_PARSE_ERROR)
    try:
        return _rsa_verifier(RSAPublicNumbers(exponent, modulus).public_key())
    except ValueError:
        raise Refusal(Status.RSA_PARSE_ERROR) from None


def _rsa_verifier(key: Any) -> Verifies:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding

    def verifies(token: Token) -> bool:
        algorithm = token.algorithm
        if algorithm[:2] not in ("RS", "PS"):
            return False
        digest = _HASHES.of[algorithm[2:]]
        how: Any = padding.PKCS1v15()
        if algorithm[:2] == "PS":
            how = padding.PSS(padding.MGF1(digest), digest.digest_size)
        try:
            key.verify(token.signature, token.signed, how, digest)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verifies


def _ec(proto: dict[str, Any], algorithm: str) -> Verifies:
    from cryptography.hazmat.primitives.asymmetric import ec

    if algorithm and not algorithm.startswith("ES"):
        raise Refusal(Status.EC_BAD_ALG)
    curve = proto.get("crv", "")
    if not isinstance(curve, str):
        raise Refusal(Status.EC_BAD_CRV)
    if (algorithm and algorithm not in _ALGORITHM_CURVES) or (curve and curve not in _CURVES):
        raise Refusal(Status.EC_UNSUPPORTED)
    if algorithm and curve and _CURVES[curve] != algorithm:
        raise Refusal(Status.EC_INCOMPATIBLE)
    curve = curve or _ALGORITHM_CURVES.get(algorithm, "P-256")
    texts = (
        _field(proto, "x", Status.EC_MISSING_X, Status.EC_BAD_X),
        _field(proto, "y", Status.EC_MISSING_Y, Status.EC_BAD_Y),
    )
    x, y = (int.from_bytes(_decoded(text, Status.EC_BAD_BASE64), "big") for text in texts)
    curves: dict[str, Any] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
    try:
        key = ec.EllipticCurvePublicNumbers(x, y, curves[curve]()).public_key()
    except ValueError:
        raise Refusal(Status.EC_PARSE_ERROR) from None
    return _ec_verifier(key, (key.key_size + 7) // 8)


def _ec_verifier(key: Any, size: int) -> Verifies:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    def verifies(token: Token) -> bool:
        signature, half = token.signature, len(token.signature) // 2
        # Two numbers of a curve; a longer one is nothing but work.
        if not signature or len(signature) % 2 or half > size:
            return False
        r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        digest = _HASHES.of[{"ES384": "384", "ES512": "512"}.get(token.algorithm, "256")]
        try:
            key.verify(encode_dss_signature(r, s), token.signed, ECDSA(digest))
        except (InvalidSignature, ValueError):
            return False
        return True

    return verifies


def _oct(proto: dict[str, Any], algorithm: str) -> Verifies:
    if algorithm and not algorithm.startswith("HS"):
        raise Refusal(Status.HMAC_BAD_ALG)
    secret = _decoded(_field(proto, "k", Status.HMAC_MISSING_K, Status.HMAC_BAD_K), Status.OCT_BAD_BASE64)

    def verifies(token: Token) -> bool:
        name = {"HS384": "sha384", "HS512": "sha512"}.get(token.algorithm, "sha256")
        return hmac.compare_digest(hmac.digest(secret, token.signed, name), token.signature)

    return verifies


def _okp(proto: dict[str, Any], algorithm: str) -> Verifies:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if algorithm and algorithm != "EdDSA":
        raise Refusal(Status.OKP_BAD_ALG)
    curve = _field(proto, "crv", Status.OKP_MISSING_CRV, Status.OKP_BAD_CRV)
    if curve != b"Ed25519":
        raise Refusal(Status.OKP_UNSUPPORTED)
    point = _decoded(_field(proto, "x", Status.OKP_MISSING_X, Status.OKP_BAD_X), Status.OKP_BAD_BASE64)
    if len(point) != _ED25519_KEY:
        raise Refusal(Status.OKP_WRONG_LENGTH)
    key = Ed25519PublicKey.from_public_bytes(point)

    def verifies(token: Token) -> bool:
        if len(token.signature) != _ED25519_SIGNATURE:
            raise Refusal(Status.ED25519_SIGNATURE_WRONG_LENGTH)
        try:
            key.verify(token.signature, token.signed)
        except InvalidSignature:
            return False
        return True

    return verifies
