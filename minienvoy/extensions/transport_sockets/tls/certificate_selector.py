"""Which certificate a client is shown: by the name it asks for, the algorithms it knows and the staple it wants.

Envoy: `DefaultTlsCertificateSelector` (`source/common/tls/default_tls_certificate_selector.cc`),
`ServerContextImpl::getClientEcdsaCapabilities`; docs "Certificate selection".

In order of preference: those with the name, those with a wildcard for it, then, if the client says no name or all are
to be looked at, every one. Among them the first with an ECDSA key of a curve that the client knows; otherwise the first
with another key. If there is none, the first of all: then there will be no cipher suite or no signature in common.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from ....network.client_hello import SIGNATURE_ALGORITHMS, STATUS_REQUEST, SUPPORTED_VERSIONS
from .tls_parameters import TLS_1_2, TLS_1_3

if TYPE_CHECKING:
    from ....network.client_hello import ClientHello
    from .certificate import TlsCertificate
    from .ocsp import Stapler
    from .tls_parameters import TlsParameters

_CURVES: Final = {
    0x0017: "1.2.840.10045.3.1.7",
    0x0403: "1.2.840.10045.3.1.7",
    0x0018: "1.3.132.0.34",
    0x0503: "1.3.132.0.34",
    0x0019: "1.3.132.0.35",
    0x0603: "1.3.132.0.35",
}
"""By the number of the group (TLS 1.2) and of the signature algorithm that goes with it (TLS 1.3)."""
_RSA: Final = "1.2.840.113549.1.1.1"


class CertificateSelector:
    """For the certificates of one context."""

    def __init__(
        self, certificates: Sequence[TlsCertificate], parameters: TlsParameters, stapler: Stapler, *, full_scan: bool
    ) -> None:
        """`parameters` are the context's; `full_scan`: for names that no certificate has, too."""
        self._certificates = certificates
        self._stapler = stapler
        self._full_scan = full_scan
        self._has_rsa = any(each.key_kind == _RSA for each in certificates)
        self._knows_13 = parameters.highest == TLS_1_3
        self._suites = _ecdsa_suites(parameters.ciphers)
        self._by_name: dict[str, dict[str, TlsCertificate]] = {}
        for certificate in certificates:
            for name in certificate.names:
                pattern = name[1:] if name.startswith("*.") else name
                self._by_name.setdefault(pattern, {}).setdefault(certificate.key_kind, certificate)

    def select(self, hello: ClientHello | None) -> TlsCertificate:
        """For a client whose first message could not be read, the first.

        Raises:
            StapleTooOld: the certificate must not be shown without a staple that is good.
        """
        if hello is None:
            return self._certificates[0]
        asks = STATUS_REQUEST in hello.extensions
        chosen = self._certificates[0]
        if len(self._certificates) > 1:
            chosen = self._find(hello.server_name, self._curves_of(hello), self._stapler.allows if asks else _any)
        if asks:
            self._stapler.count(chosen)
        return chosen

    def _find(self, name: str, curves: frozenset[str], allows: Callable[[TlsCertificate], bool]) -> TlsCertificate:
        """As Envoy does, to the last oddity: a name whose certificates do not suit is as good as none."""
        if name:
            found = _best(self._by_name.get(name, {}).values(), curves, allows)
            if found is None:
                # Never the first letter: `.test` has no labels before the dot.
                dot = name.find(".", 1)
                if 0 < dot < len(name) - 1:
                    found = _best(self._by_name.get(name[dot:], {}).values(), curves, allows)
            if found is not None:
                return found
            if not self._full_scan:
                return self._certificates[0]
        found = None
        if curves or self._has_rsa:
            found = _best(self._certificates, curves, allows)
        return found or self._certificates[0]

    def _curves_of(self, hello: ClientHello) -> frozenset[str]:
        """The curves of ECDSA keys that are good for the client; none if ECDSA is not."""
        if hello.version == TLS_1_2 and self._knows_13 and SUPPORTED_VERSIONS in hello.extensions:
            if SIGNATURE_ALGORITHMS not in hello.extensions:
                return frozenset()
            return frozenset(_CURVES[each] for each in hello.signatures if each in _CURVES)
        curves = frozenset(_CURVES[each] for each in hello.groups if each in _CURVES)
        for number in hello.ciphers:
            if self._suites.get(number, hello.version + 1) <= hello.version:
                return curves
        return frozenset()


def _any(certificate: TlsCertificate) -> bool:
    return True


def _best(
    certificates: Iterable[TlsCertificate], curves: frozenset[str], allows: Callable[[TlsCertificate], bool]
) -> TlsCertificate | None:
    candidate = None
    for each in certificates:
        if not allows(each):
            continue
        if each.curve:
            if each.curve in curves:
                return each
        elif not curves:
            return each
        elif candidate is None:
            candidate = each
    return candidate


@cache
def _ecdsa_suites(names: tuple[str, ...]) -> dict[int, int]:
    """Those for ECDSA keys: number to the lowest version that has it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(":".join(names) + ":@SECLEVEL=0")
    except ssl.SSLError:
        return {}  # none but suites of TLS 1.3, or names that are refused elsewhere
    return {
        each["id"] & 0xFFFF: TLS_1_2 if each["protocol"] == "TLSv1.2" else 0
        for each in context.get_ciphers()
        if each["auth"] == "auth-ecdsa"
    }
