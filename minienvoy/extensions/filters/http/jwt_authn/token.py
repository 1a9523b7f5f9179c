"""A token, parsed: `header.payload.signature`, each in base64url.

Envoy: `JwtVerify::Jwt::parseFromString`, `JwtVerify::Jwt::verifyTimeConstraint`.
"""

from __future__ import annotations

from typing import Any, Final

from .encoding import base64url_decode, read_object
from .status import Refusal, Status

CLOCK_SKEW: Final = 60
_LONGEST: Final = 2.0**64
_ALGORITHMS: Final = frozenset(
    {*(f"{kind}{bits}" for kind in ("ES", "HS", "RS", "PS") for bits in (256, 384, 512)), "EdDSA"}
)


class Token:
    """Attributes:
    expires: seconds of the wall clock, 0 for never; `starts` likewise.
    payload_text: as it came.
    signed: what the signature is of.
    """

    __slots__ = (
        "algorithm",
        "audiences",
        "expires",
        "header",
        "issuer",
        "kid",
        "payload",
        "payload_text",
        "signature",
        "signed",
        "starts",
        "subject",
    )

    def __init__(self, text: bytes) -> None:
        """Raises Refusal: what is wrong first."""
        sections = [section for section in text.split(b".") if section]
        if len(sections) != 3:
            raise Refusal(Status.BAD_FORMAT)
        self._take_header(sections[0])
        self._take_payload(sections[1])
        signature = base64url_decode(sections[2])
        if signature is None:
            raise Refusal(Status.SIGNATURE_BAD_BASE64)
        self.signature = signature
        self.signed = sections[0] + b"." + sections[1]

    def _take_header(self, text: bytes) -> None:
        decoded = base64url_decode(text)
        if decoded is None:
            raise Refusal(Status.HEADER_BAD_BASE64)
        header = read_object(decoded)
        if header is None:
            raise Refusal(Status.HEADER_BAD_JSON)
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str):
            raise Refusal(Status.HEADER_BAD_ALG)
        if algorithm not in _ALGORITHMS:
            raise Refusal(Status.HEADER_NOT_IMPLEMENTED_ALG)
        if not isinstance(kid, str):
            raise Refusal(Status.HEADER_BAD_KID)
        self.header, self.algorithm, self.kid = header, algorithm, kid

    def _take_payload(self, text: bytes) -> None:
        decoded = base64url_decode(text)
        if decoded is None:
            raise Refusal(Status.PAYLOAD_BAD_BASE64)
        payload = read_object(decoded)
        if payload is None:
            raise Refusal(Status.PAYLOAD_BAD_JSON)
        self.payload, self.payload_text = payload, text
        self.issuer = _string(payload, "iss", Status.ISS_NOT_STRING)
        self.subject = _string(payload, "sub", Status.SUB_NOT_STRING)
        _seconds(payload, "iat", Status.IAT_NOT_INTEGER, Status.IAT_OUT_OF_RANGE)
        self.starts = _seconds(payload, "nbf", Status.NBF_NOT_INTEGER, Status.NBF_OUT_OF_RANGE)
        self.expires = _seconds(payload, "exp", Status.EXP_NOT_INTEGER, Status.EXP_OUT_OF_RANGE)
        _string(payload, "jti", Status.JTI_NOT_STRING)
        audiences = payload.get("aud", [])
        if isinstance(audiences, str):
            audiences = [audiences]
        if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
            raise Refusal(Status.AUD_NOT_STRING)
        self.audiences: tuple[str, ...] = tuple(audiences)

    def time_status(self, now: int, skew: int = CLOCK_SKEW) -> Status:
        """Is it of this time? `now` are seconds of the wall clock."""
        if now + skew < self.starts:
            return Status.NOT_YET_VALID
        if self.expires and now > self.expires + skew:
            return Status.EXPIRED
        return Status.OK


def _string(payload: dict[str, Any], name: str, status: Status) -> str:
    value = payload.get(name, "")
    if not isinstance(value, str):
        raise Refusal(status)
    return value


def _seconds(payload: dict[str, Any], name: str, no_number: Status, out_of_range: Status) -> int:
    value = payload.get(name, 0.0)
    if not isinstance(value, float):
        raise Refusal(no_number)
    if not 0 <= value < _LONGEST:
        raise Refusal(out_of_range)
    return int(value)
