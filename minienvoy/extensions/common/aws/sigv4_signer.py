"""AWS Signature Version 4: what a request has to say so that AWS believes who sends it.

Envoy: `Extensions::Common::Aws::SigV4SignerImpl`, `SignerBaseImpl`, `Utility`; AWS General Reference, "Signing AWS API
requests". No I/O and no clock: whoever signs says what time it is.

A signature is made of a *canonical request* (method, path, query, headers and the hash of the body, each in a form that
proxies do not change) and a key that is derived from the secret for one day, region and service. It travels in the
`authorization` header, or in the query of the path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from hmac import digest
from time import gmtime, strftime
from typing import Final

from ....http.header_map import RequestHeaderMap
from ....record import record

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
EMPTY_PAYLOAD: Final = sha256(b"").hexdigest()

_CONTENT_SHA256: Final = b"x-amz-content-sha256"
_DATE: Final = b"x-amz-date"
_SECURITY_TOKEN: Final = b"x-amz-security-token"
_AUTHORIZATION: Final = b"authorization"
_OF_AWS: Final = b"x-amz-"
"""Headers of such names, and the content type, are signed whatever is configured."""
_NEVER: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-amzn-trace-id"})
"""What proxies on the way add or change."""
_BLANKS: Final = re.compile(rb"[ \t\n\v\f\r]+")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEEPS_PATH: Final = frozenset({"s3", "s3-outposts"})
_ENCODED: Final = re.compile(r"%([0-9A-Fa-f]{2})")


@record
class Credentials:
    """Attributes:
    session_token: of temporary credentials, else empty.
    """

    access_key_id: str
    secret_access_key: str
    session_token: str = ""


class SigV4Signer:
    """Of one service in one region."""

    def __init__(
        self,
        service: str,
        region: str,
        excluded: Sequence[Callable[[bytes], bool]] = (),
        included: Sequence[Callable[[bytes], bool]] = (),
        expiration: int | None = None,
    ) -> None:
        """`excluded` headers are not signed; if there are `included` ones, only they are.

        With an `expiration` (seconds) the signature is in the query.
        """
        self.service = service
        self.region = region
        self._excluded = excluded
        self._included = included
        self._expiration = expiration

    def sign(self, headers: RequestHeaderMap, content_hash: str, credentials: Credentials | None, now: float) -> None:
        """Sign the request as it is; `now` is seconds since the epoch. Without credentials the body's hash is told."""
        moment = gmtime(now)
        date, day = strftime("%Y%m%dT%H%M%SZ", moment), strftime("%Y%m%d", moment)
        scope = f"{day}/{self.region}/{self.service}/aws4_request"
        if self._expiration is None or content_hash in (EMPTY_PAYLOAD, UNSIGNED_PAYLOAD):
            # Envoy does not tell the hash of a body beside a signature in the query.
            _replace(headers, _CONTENT_SHA256, content_hash)
        if credentials is None:
            return
        if self._expiration is not None:
            self._sign_query(headers, content_hash, credentials, date, day, scope)
            return
        headers.remove(_AUTHORIZATION)
        if credentials.session_token:
            _replace(headers, _SECURITY_TOKEN, credentials.session_token)
        _replace(headers, _DATE, date)
        signed = self.canonical_headers(headers)
        request = self._canonical_request(headers.method, headers.path, signed, content_hash)
        signature = self._signature(credentials, date, day, scope, request)
        names = ";".join(signed)
        _replace(
            headers,
            _AUTHORIZATION,
            f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}",
        )

    def _sign_query(
        self, headers: RequestHeaderMap, content_hash: str, credentials: Credentials, date: str, day: str, scope: str
    ) -> None:
        signed = self.canonical_headers(headers)
        path, _, query = headers.path.decode("latin-1").partition("?")
        parameters = [(name, value) for name, _, value in (each.partition("=") for each in query.split("&") if each)]
        parameters += [
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", _percent(f"{credentials.access_key_id}/{scope}")),
            ("X-Amz-Date", date),
            ("X-Amz-Expires", str(self._expiration)),
            ("X-Amz-SignedHeaders", _percent(";".join(signed))),
        ]
        if credentials.session_token:
            parameters.append(("X-Amz-Security-Token", _percent(credentials.session_token)))
        target = f"{path}?{_joined(parameters)}".encode("latin-1")
        request = self._canonical_request(headers.method, target, signed, content_hash)
        parameters.append(("X-Amz-Signature", self._signature(credentials, date, day, scope, request)))
        headers.put_path(f"{path}?{_joined(parameters)}".encode("latin-1"))

    def canonical_headers(self, headers: RequestHeaderMap) -> dict[str, str]:
        """Those that are signed, by their names, in the order of these."""
        found: dict[bytes, bytes] = {}
        for name, value, *_ in headers.entries:
            if value and name != b"host" and self._is_signed(name):
                value = _BLANKS.sub(b" ", value).strip(b" ")
                found[name] = b"%b,%b" % (found[name], value) if name in found else value
        host = headers.authority
        if host:
            name, colon, port = host.partition(b":")
            found[b"host"] = name if colon and port in (b"80", b"443") else host
        return {name.decode("latin-1"): found[name].decode("latin-1") for name in sorted(found)}

    def _is_signed(self, name: bytes) -> bool:
        if name.startswith(_OF_AWS) or name == b"content-type":
            return True
        if self._included:
            return any(matches(name) for matches in self._included)
        return name not in _NEVER and not any(matches(name) for matches in self._excluded)

    def _canonical_request(self, method: bytes, path: bytes, signed: dict[str, str], content_hash: str) -> str:
        target, _, query = path.decode("latin-1").partition("?")
        return "\n".join(
            (
                method.decode("latin-1"),
                self.canonical_path(target),
                canonical_query(query),
                *(f"{name}:{value}" for name, value in signed.items()),
                "",
                ";".join(signed),
                content_hash,
            )
        )

    def canonical_path(self, path: str) -> str:
        """Without the segments that say nothing, and encoded once more; where they may be part of a key, the path stays
        as it is, and is encoded if it is not."""
        if self.service in _KEEPS_PATH:
            plain = _decoded(path)
            return path if _percent(plain, "/") == path else _percent(path, "/")
        segments: list[str] = []
        for segment in path.split("/"):
            if segment == "..":
                del segments[-1:]
            elif segment not in ("", "."):
                segments.append(_percent(segment))
        made = "/" + "/".join(segments)
        return made + "/" if segments and path.endswith("/") else made

    def _signature(self, credentials: Credentials, date: str, day: str, scope: str, request: str) -> str:
        text = "\n".join((ALGORITHM, date, scope, sha256(request.encode("latin-1")).hexdigest()))
        key = f"AWS4{credentials.secret_access_key}".encode()
        for part in (day, self.region, self.service, "aws4_request"):
            key = digest(key, part.encode(), "sha256")
        return digest(key, text.encode(), "sha256").hex()


def canonical_query(query: str) -> str:
    """Parameters by name and value, each with its `=`, and encoded in the one way that AWS knows."""
    parameters = sorted(
        (_decoded(name.replace("+", " ")), _decoded(value.replace("+", " ")))
        for name, _, value in (each.partition("=") for each in query.split("&") if each)
    )
    return "&".join(f"{_percent(name)}={_percent(value)}" for name, value in parameters)


def _decoded(text: str) -> str:
    return _ENCODED.sub(lambda found: chr(int(found[1], 16)), text)


def _joined(parameters: list[tuple[str, str]]) -> str:
    """As they go out: by name; those of one name stay in their order."""
    return "&".join(f"{name}={value}" for name, value in sorted(parameters, key=lambda each: each[0]))


def _percent(text: str, safe: str = "") -> str:
    kept = _UNRESERVED | frozenset(safe.encode())
    return "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in text.encode("latin-1"))


def _replace(headers: RequestHeaderMap, name: bytes, value: str) -> None:
    headers.remove(name)
    headers.add(name, value.encode())
