"""Signatures that scripts verify.

Envoy: `Common::Crypto::Utility::importPublicKeyDER`, `verifySignature`.
"""

from __future__ import annotations

from typing import Any, Final

_HASHES: Final = {"sha1": "SHA1", "sha224": "SHA224", "sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}


def import_public_key(der: bytes) -> Any:
    """A key from a SubjectPublicKeyInfo; None if it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        return load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return None


def verify_signature(hash_name: str, key: Any, signature: bytes, text: bytes) -> str | None:
    """None if it is good, else what is wrong."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    known = _HASHES.get(hash_name.lower())
    if known is None:
        return f"{hash_name} is not supported."
    algorithm = getattr(hashes, known)()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, text, ec.ECDSA(algorithm))
        else:
            return "Failed to initialize digest verify."
    except InvalidSignature:
        return "Failed to verify digest. Error code: 0"
    return None
