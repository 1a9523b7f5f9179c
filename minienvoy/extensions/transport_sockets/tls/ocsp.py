"""OCSP responses that are stapled to certificates, and what becomes of a client that asks for one.

Envoy: `Extensions::TransportSockets::Tls::Ocsp::OcspResponseWrapper`, `ServerContextImpl::ocspStapleAction`.
"""

from __future__ import annotations

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


class StapleTooOld(Exception):
    """The policy wants a good one, and the client wants one: the end of the handshake."""


class Stapler:
    """Decides for clients that ask whether they get the response that belongs to the certificate they are shown."""

    def __init__(
        self, certificates: Iterable[TlsCertificate], policy: int, now: Callable[[], float], stats: SslStats, path: str
    ) -> None:
        self._policy = policy
        self._now = now
        self._counters = stats.counters
        for each in certificates:
            if each.staple is None:
                if each.certificate.must_staple:
                    raise ConfigError("OCSP response is required for must-staple certificate", path)
                if policy == MUST_STAPLE:
                    raise ConfigError("Required OCSP response is missing from TLS context", path)
        self.is_needed = any(each.staple is not None for each in certificates)
        """Python's `ssl` can not send one."""

    def allows(self, certificate: TlsCertificate) -> bool:
        """Whether it may be shown to a client that asks."""
        policy = MUST_STAPLE if certificate.certificate.must_staple else self._policy
        if self.staple(certificate) is not None or policy == LENIENT_STAPLING:
            return True
        return policy == STRICT_STAPLING and certificate.staple is None

    def count(self, certificate: TlsCertificate) -> None:
        """A client asks, and is shown this certificate.

        Raises:
            StapleTooOld: it must not be shown like this.
        """
        counters = self._counters
        counters.ocsp_staple_requests += 1
        if not self.allows(certificate):
            counters.ocsp_staple_failed += 1
            raise StapleTooOld
        if self.staple(certificate) is None:
            counters.ocsp_staple_omitted += 1
        else:
            counters.ocsp_staple_responses += 1

    def staple(self, certificate: TlsCertificate) -> bytes | None:
        """What is sent with it; None if there is none, or none that is still good."""
        response = certificate.staple
        return None if response is None or response.is_expired(self._now()) else response.der
