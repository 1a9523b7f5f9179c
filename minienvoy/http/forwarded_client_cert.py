"""`x-forwarded-client-cert`: what upstreams are told of the client's certificate.

Envoy: `ConnectionManagerUtility::mutateXfccRequestHeader`; docs "HTTP header manipulation > x-forwarded-client-cert".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..record import record

if TYPE_CHECKING:
    from .header_map import RequestHeaderMap

SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET, ALWAYS_FORWARD_ONLY = range(5)
"""`ForwardClientCertDetails`."""
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


@record
class ForwardedClientCert:
    """Compiled; `details` are written in this order."""

    mode: int
    details: tuple[Detail, ...]

    @classmethod
    def from_proto(cls, mode: int, details: Any) -> ForwardedClientCert:
        wanted = (
            (details.cert, _cert),
            (details.chain, _chain),
            (details.subject.value, _subject),
            (details.uri, _uri),
            (details.dns, _dns),
        )
        return cls(mode, tuple(detail for on, detail in wanted if on))

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
        parts = [f"By={name}" for name in ssl.uri_san_local_certificate]
        parts.append(f"Hash={ssl.peer_certificate.fingerprint_256}")
        for detail in self.details:
            parts.extend(detail(ssl))
        # A certificate may say what it likes: its words must not end the header.
        element = "".join(letter for letter in ";".join(parts) if letter >= " ").encode("latin-1", "replace")
        before = headers.get(_NAME) if mode == APPEND_FORWARD else None
        headers.set(_NAME, before + b"," + element if before else element)
