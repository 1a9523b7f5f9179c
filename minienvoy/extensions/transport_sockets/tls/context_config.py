"""From `CommonTlsContext` to contexts of Python's `ssl`.

Envoy: `Extensions::TransportSockets::Tls::ContextConfigImpl`, `ContextImpl`
(`source/common/tls/context_config_impl.cc`, `context_impl.cc`).

Keys are handed to OpenSSL through a file in memory, never through one on a disk; nothing here keeps them.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from ....config.data_source import read_data_source
from ....config.fields import honours
from ....errors import ConfigError
from ....network.memory_file import MemoryFile
from ....network.ssl_stats import SslStats
from ....network.x509 import Certificate, certificates_of
from .cert_validator import CertValidator

_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3"
_VERSIONS: Final = {
    1: ssl.TLSVersion.TLSv1,
    2: ssl.TLSVersion.TLSv1_1,
    3: ssl.TLSVersion.TLSv1_2,
    4: ssl.TLSVersion.TLSv1_3,
}
"""`TlsParameters.TlsProtocol`; 0 is the default of the side."""
DEFAULT_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
_OP_PRIORITIZE_CHACHA: Final = 1 << 21
_CURVES: Final = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1", "X25519": "X25519"}
_PARTIAL_CHAIN: Final = ssl.VerifyFlags(0x80000)
_NO_CHECK_TIME: Final = 0x200000

honours(
    f"{_TYPE}.CommonTlsContext",
    "tls_params",
    "tls_certificates",
    "validation_context",
    "alpn_protocols",
)
honours(
    f"{_TYPE}.TlsCertificate",
    "certificate_chain",
    "private_key",
    "password",
    "watched_directory",
)
honours("envoy.config.core.v3.WatchedDirectory", "path")
honours(
    f"{_TYPE}.TlsParameters",
    "tls_minimum_protocol_version",
    "tls_maximum_protocol_version",
    "cipher_suites",
    when={"ecdh_curves": lambda config: _only_one_curve(config)},
)


def _only_one_curve(config: Any) -> str | None:
    known = len(config.ecdh_curves) == 1 and config.ecdh_curves[0] in _CURVES
    return None if known else f"only one curve, of {', '.join(_CURVES)}, can be chosen"


class TlsCertificate:
    """A certificate with its chain, and what proves that it is ours."""

    def __init__(self, config: Any, path: str) -> None:
        self.chain = read_data_source(config.certificate_chain, f"{path}.certificate_chain", allow_empty=False)
        self._key = read_data_source(config.private_key, f"{path}.private_key", allow_empty=False)
        self._password: bytes | None = None
        if config.HasField("password"):
            self._password = read_data_source(config.password, f"{path}.password", allow_empty=False)
        self.path = path
        self.source = config.certificate_chain.filename or "<inline>"
        try:
            self.certificate: Certificate = certificates_of(self.chain)[0]
        except (ValueError, IndexError):
            raise ConfigError(
                f"Failed to load certificate chain from {self.source}", f"{path}.certificate_chain"
            ) from None

    @property
    def is_ecdsa(self) -> bool:
        return self.certificate.algorithm.startswith("1.2.840.10045.2.1")

    @property
    def names(self) -> tuple[str, ...]:
        """The server names that it is for."""
        from ....network.x509 import DNS

        names = self.certificate.names(DNS)
        if names:
            return names
        common = [part[3:] for part in self.certificate.subject.split(",") if part.startswith("CN=")]
        return tuple(common[:1])

    def load_into(self, context: ssl.SSLContext) -> None:
        """Raises ConfigError."""
        with MemoryFile(self.chain.rstrip() + b"\n" + self._key) as name:
            try:
                # Without a password OpenSSL would ask at the terminal.
                context.load_cert_chain(name, password=lambda: self._password or b"\0")
            except (ssl.SSLError, ValueError) as error:
                if "MISMATCH" in (getattr(error, "reason", "") or ""):
                    raise ConfigError(
                        f"Failed to load private key from {self.source}, Cause: key values mismatch",
                        f"{self.path}.private_key",
                    ) from None
                raise ConfigError("Failed to load private key", f"{self.path}.private_key") from None


def read_certificates(config: Any, path: str) -> list[TlsCertificate]:
    """Those of a `CommonTlsContext`."""
    return [TlsCertificate(each, f"{path}.tls_certificates[{at}]") for at, each in enumerate(config.tls_certificates)]


class ShownCertificates(NamedTuple):
    """What `/certs` tells of one context: (where it comes from, certificate)."""

    authorities: list[tuple[str, Certificate]]
    own: list[tuple[str, Certificate]]


def shown_certificates(
    certificates: Iterable[TlsCertificate], validator: CertValidator, stats: SslStats, names: Sequence[str] = ()
) -> ShownCertificates:
    """Also counts when they expire; `names` are those of the secrets among them, which come last."""
    own = list(certificates)
    authorities = [(validator.source, each) for each in validator.authorities[:1]]
    static = len(own) - len(names)
    for at, each in enumerate(own):
        stats.show_expiration("cert", names[at - static] if at >= static else "", each.certificate.not_after)
    for _, authority in authorities:
        stats.show_expiration("ca_cert", "", authority.not_after)
    return ShownCertificates(authorities, [(each.source, each.certificate) for each in own])


def create_context(
    config: Any,
    path: str,
    certificates: Sequence[TlsCertificate],
    validator: CertValidator,
    *,
    server_side: bool,
) -> ssl.SSLContext:
    """One context with these certificates, at most one of each kind of key.

    Raises:
        ConfigError: OpenSSL does not take something.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    if not server_side:
        context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    params = config.tls_params
    where = f"{path}.tls_params"
    lowest = _VERSIONS.get(params.tls_minimum_protocol_version, ssl.TLSVersion.TLSv1_2)
    highest = _VERSIONS.get(
        params.tls_maximum_protocol_version, ssl.TLSVersion.TLSv1_3 if server_side else ssl.TLSVersion.TLSv1_2
    )
    try:
        context.minimum_version, context.maximum_version = lowest, highest
    except ValueError as error:
        raise ConfigError(f"the TLS version can not be had: {error}", where) from None
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= _OP_PRIORITIZE_CHACHA
    _set_ciphers(context, _cipher_names(params.cipher_suites) or DEFAULT_CIPHERS, lowest, f"{where}.cipher_suites")
    if params.ecdh_curves:
        context.set_ecdh_curve(_CURVES[params.ecdh_curves[0]])
    if config.alpn_protocols:
        context.set_alpn_protocols(config.alpn_protocols)
    for certificate in certificates:
        certificate.load_into(context)
    if validator.verifies_chain:
        _load_trusted(context, validator, path)
    return context


def _cipher_names(suites: Iterable[str]) -> list[str]:
    """`[A|B]` are of equal preference in BoringSSL; a suite may be a list with colons."""
    return [name for suite in suites for part in suite.split(":") for name in part.strip("[]").split("|") if name]


def _set_ciphers(context: ssl.SSLContext, names: Sequence[str], lowest: ssl.TLSVersion, path: str) -> None:
    rejected = []
    for name in names:
        try:
            context.set_ciphers(name)
        except ssl.SSLError:
            rejected.append(name)
    if rejected:
        raise ConfigError(
            f"Failed to initialize cipher suites {':'.join(names)}. "
            f"The following ciphers were rejected when tried individually: {', '.join(rejected)}",
            path,
        )
    old = [":@SECLEVEL=0"] if lowest < ssl.TLSVersion.TLSv1_2 else [""]
    context.set_ciphers(":".join(names) + old[0])


def _load_trusted(context: ssl.SSLContext, validator: CertValidator, path: str) -> None:
    where = f"{path}.validation_context"
    try:
        context.load_verify_locations(cadata=validator.trusted_ca.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ConfigError("Failed to load trusted CA certificates from <inline>", f"{where}.trusted_ca") from None
    if b"-----BEGIN X509 CRL-----" in validator.trusted_ca + validator.crl:
        with MemoryFile(validator.trusted_ca + b"\n" + validator.crl) as name:
            try:
                context.load_verify_locations(cafile=name)
            except ssl.SSLError:
                raise ConfigError("Failed to load CRL from <inline>", f"{where}.crl") from None
        context.verify_flags |= (
            ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF if validator.only_leaf_crl else ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
        )
    if validator.allows_expired:
        context.verify_flags |= _NO_CHECK_TIME
