"""OCSP responses that are stapled to certificates, and what becomes of a client that asks for one.

Envoy: `Extensions::TransportSockets::Tls::Ocsp::OcspResponseWrapper`, `ServerContextImpl::ocspStapleAction`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from ....errors import ConfigError

if TYPE_CHECKING:
    from ....network.ssl_stats import SslStats
    from .certificate import TlsCertificate

LENIENT_STAPLING, STRICT_STAPLING, MUST_STAPLE = 0, 1, 2
"""`DownstreamTlsContext.OcspStaplePolicy`."""


class OcspResponse:
    """One response about one certificate.

    Attributes:
        der: as it is sent.
        serial_number: of the certificate, in hexadecimal digits as `Certificate` has it.
    """

    def __init__(self, der: bytes, path: str) -> None:
        from cryptography.x509 import ocsp

        self.der = der
        try:
            response = ocsp.load_der_ocsp_response(der)
            number = response.serial_number
            end = response.next_update_utc
        except ValueError:
            raise ConfigError("Data contained more than a single OCSP response", path) from None
        self.serial_number = number.to_bytes((number.bit_length() + 8) // 8, "big").lstrip(b"\0").hex()
        self._end: Final = end.timestamp() if end is not None else 0.0

    def is_expired(self, now: float) -> bool:
        return now >= self._end


class StapleTooOld(ssl.SSLError):
    """The policy wants a good one, and the client wants one: the end of the handshake."""


class Stapler:
    """Gives clients the response that belongs to the certificate they are shown."""

    def __init__(
        self, certificates: Iterable[TlsCertificate], policy: int, now: Callable[[], float], stats: SslStats, path: str
    ) -> None:
        self._staples = {each.certificate.der: each.staple for each in certificates if each.staple is not None}
        self._policy = policy
        self._now = now
        self._counters = stats.counters
        if policy == MUST_STAPLE and any(each.staple is None for each in certificates):
            raise ConfigError("Required OCSP response is missing from TLS context", path)

    @property
    def is_needed(self) -> bool:
        """Python's `ssl` knows nothing of staples: whether a client has asked is not known there either."""
        return bool(self._staples)

    def staple(self, shown: bytes) -> bytes | None:
        """For a client that asks, and is shown this certificate.

        Raises:
            StapleTooOld: it must not be shown like this.
        """
        counters = self._counters
        counters.ocsp_staple_requests += 1
        response = self._staples.get(shown)
        if response is None:
            counters.ocsp_staple_omitted += 1
            return None
        if response.is_expired(self._now()):
            if self._policy == LENIENT_STAPLING:
                counters.ocsp_staple_omitted += 1
                return None
            counters.ocsp_staple_failed += 1
            raise StapleTooOld
        counters.ocsp_staple_responses += 1
        return response.der
