"""`x-forwarded-client-cert`: what upstreams are told of the client's certificate.

Envoy: `ConnectionManagerUtility::mutateXfccRequestHeader`; docs "HTTP header manipulation > x-forwarded-client-cert".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..record import record

if TYPE_CHECKING:
    from .header_map import RequestHeaderMap

SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET, ALWAYS_FORWARD_ONLY = range(5)
"""`ForwardClientCertDetails`."""
JSON: Final = 1
"""`ForwardClientCertFormat`."""
_NAME: Final = b"x-forwarded-client-cert"

Detail = Callable[[Any], Iterator[str]]


def _cert(ssl: Any) -> Iterator[str]:
    if ssl.peer_chain:
        yield f'Cert="{ssl.url_encoded_pem_peer_certificate}"'


def _chain(ssl: Any) -> Iterator[str]:
    if ssl.peer_chain:
        yield f'Chain="{ssl.url_encoded_pem_peer_chain}"'


def _subject(ssl: Any) -> Iterator[str]:
    yield f'Subject="{ssl.subject_peer_certificate}"'


def _uri(ssl: Any) -> Iterator[str]:
    # Without a name the key is there all the same.
    for name in ssl.uri_san_peer_certificate or ("",):
        yield f"URI={name}"


def _dns(ssl: Any) -> Iterator[str]:
    for name in ssl.dns_sans_peer_certificate:
        yield f"DNS={name}"


def _issuer(ssl: Any) -> Iterator[str]:
    yield f'Issuer="{ssl.issuer_peer_certificate}"'


JsonDetail = tuple[str, Callable[[Any], object]]
_AS_TEXT: Final[dict[str, Detail]] = {
    "cert": _cert,
    "chain": _chain,
    "subject": _subject,
    "uri": _uri,
    "dns": _dns,
    "issuer": _issuer,
}
_AS_JSON: Final[dict[str, Callable[[Any], object]]] = {
    "cert": lambda ssl: ssl.peer_chain[0].pem,
    "chain": lambda ssl: [each.pem for each in ssl.peer_chain],
    "subject": lambda ssl: ssl.subject_peer_certificate,
    "uri": lambda ssl: list(ssl.uri_san_peer_certificate),
    "dns": lambda ssl: list(ssl.dns_sans_peer_certificate),
    "issuer": lambda ssl: ssl.issuer_peer_certificate,
}


@record
class ForwardedClientCert:
    """Compiled; `details` are written in this order. `json_details` is None for the format of old."""

    mode: int
    details: tuple[Detail, ...]
    json_details: tuple[JsonDetail, ...] | None = None

    @classmethod
    def from_proto(cls, mode: int, details: Any) -> ForwardedClientCert:
        wanted = {
            "cert": details.cert,
            "chain": details.chain,
            "subject": details.subject.value,
            "uri": details.uri,
            "dns": details.dns,
            "issuer": details.issuer,
        }
        chosen = [name for name, on in wanted.items() if on]
        as_json = tuple((name, _AS_JSON[name]) for name in chosen) if details.format == JSON else None
        return cls(mode, tuple(_AS_TEXT[name] for name in chosen), as_json)

    def mutate(self, headers: RequestHeaderMap, ssl: Any) -> None:
        """`ssl` is the downstream connection's; None if that is plain."""
        mode = self.mode
        if mode == ALWAYS_FORWARD_ONLY:
            return
        if ssl is None or not ssl.peer_certificate_presented:
            headers.remove(_NAME)
            return
        if mode == FORWARD_ONLY:
            return
        before = headers.get(_NAME) if mode == APPEND_FORWARD else None
        if self.json_details is not None and (not before or (before[:1], before[-1:]) == (b"[", b"]")):
            headers.set(_NAME, self._as_json(ssl, self.json_details, (before or b"[]")[1:-1].strip()))
            return
        parts = [f"By={name}" for name in ssl.uri_san_local_certificate]
        parts.append(f"Hash={ssl.peer_certificate.fingerprint_256}")
        for detail in self.details:
            parts.extend(detail(ssl))
        # A certificate may say what it likes: its words must not end the header.
        element = "".join(letter for letter in ";".join(parts) if letter >= " ").encode("latin-1", "replace")
        headers.set(_NAME, before + b"," + element if before else element)

    @staticmethod
    def _as_json(ssl: Any, details: tuple[JsonDetail, ...], before: bytes) -> bytes:
        """An array with one element more than `before`, the elements that there are."""
        told: dict[str, object] = {}
        if ssl.uri_san_local_certificate:
            told["by"] = list(ssl.uri_san_local_certificate)
        told["hash"] = ssl.peer_certificate.fingerprint_256
        for name, detail in details:
            value = detail(ssl)
            if value:
                told[name] = value
        element = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
        return b"[" + (before + b"," + element if before else element) + b"]"
