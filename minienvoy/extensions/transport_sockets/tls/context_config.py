"""From `CommonTlsContext` to contexts of Python's `ssl`, or of pyOpenSSL where that is needed.

Envoy: `Extensions::TransportSockets::Tls::ContextConfigImpl`, `ContextImpl`
(`source/common/tls/context_config_impl.cc`, `context_impl.cc`).
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ....config.fields import honours
from ....errors import ConfigError
from ....network.memory_file import MemoryFile
from ....network.ssl_connection_info import SslConnectionInfo
from ....network.ssl_socket import SslSocket
from ....network.ssl_stats import SslStats
from ....network.x509 import Certificate
from .cert_validator import CertValidator, create_validator
from .certificate import TlsCertificate, read_certificates
from .key_log import KeyLog
from .native_context import native
from .tls_parameters import ALLOW_CLIENT_RENEGOTIATION, TlsParameters

if TYPE_CHECKING:
    from ....network.connection import Connection
    from .openssl_context import OpenSslContext

_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3"
_CURVES: Final = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1", "X25519": "X25519"}
_MAX_PROTOCOL, _MAX_PROTOCOLS = 255, 65535
_PARTIAL_CHAIN, _NO_CHECK_TIME = ssl.VerifyFlags(0x80000), ssl.VerifyFlags(0x200000)


honours(
    f"{_TYPE}.CommonTlsContext",
    "tls_params",
    "validation_context",
    "alpn_protocols",
    "key_log",
    "tls_certificates",
)


class ShownCertificates(NamedTuple):
    """What `/certs` tells of one context: (where it comes from, certificate)."""

    authorities: list[tuple[str, Certificate]]
    own: list[tuple[str, Certificate]]


class TlsContext:
    """What the contexts of both sides are made of; makes what stands between transports and connections.

    Attributes:
        common: the `CommonTlsContext`; `where` is its path.
        protocols: for ALPN; a letter is a byte.
        shown_certificates: for `/certs`.
    """

    server_side: bool
    may_renegotiate = False
    secure = True
    wants_proxy_header = False

    def __init__(self, config: Any, stats: SslStats, path: str, names: Sequence[str] = ()) -> None:
        """`names` are those of the certificates that are secrets, the last ones."""
        self.common = common = config.common_tls_context
        self.where = where = f"{path}.common_tls_context"
        self.stats = stats
        validation = common.validation_context if common.HasField("validation_context") else None
        self.validator: CertValidator = create_validator(validation, stats, f"{where}.validation_context")
        self.certificates = read_certificates(common, where)
        self.shown_certificates = _shown_certificates(self.certificates, self.validator, stats, names)
        self.parameters = TlsParameters(common.tls_params, f"{where}.tls_params", server_side=self.server_side)
        self.protocols = read_protocols(common.alpn_protocols, f"{where}.alpn_protocols")
        self.key_log = KeyLog(common.key_log, where) if common.HasField("key_log") else None

    def protocol(self, connection: Connection, options: Any = None) -> SslSocket:
        return SslSocket(connection, self, options)  # type: ignore[arg-type]

    def announce(self, connection: Connection) -> None:
        connection.info.ssl = SslConnectionInfo()

    def uses_library(self, more: bool = False) -> bool:
        """Python's `ssl` is not enough; `more` says so for reasons of the side."""
        return (
            more
            or self.parameters.needs_library
            or self.key_log is not None
            or not all(map(str.isascii, self.protocols))
            or self.validator.needs_library(self.server_side)
        )

    def library_context(
        self,
        certificate: TlsCertificate | None,
        alpn: Sequence[str],
        *,
        parameters: TlsParameters | None = None,
        ciphers: Sequence[str] = (),
        client_order: bool = False,
        renegotiates: bool = False,
    ) -> OpenSslContext:
        """One of pyOpenSSL's; `parameters` other than the context's, `ciphers` in another order than the first.

        Raises:
            ConfigError: OpenSSL does not take something.
        """
        from .openssl_context import OpenSslContext

        context = OpenSslContext(
            parameters or self.parameters,
            alpn,
            certificate,
            self.validator,
            self.where,
            server_side=self.server_side,
            ciphers=ciphers,
            client_order=client_order,
            renegotiates=renegotiates,
        )
        if self.key_log is not None:
            context.log_keys(self.key_log)
        return context

    def plain_context(
        self,
        certificate: TlsCertificate | None,
        alpn: Sequence[str],
        parameters: TlsParameters | None = None,
        ciphers: Sequence[str] = (),
    ) -> ssl.SSLContext:
        """One of Python's own; `parameters` other than the context's, `ciphers` in another order than the first.

        Raises:
            ConfigError: OpenSSL does not take something.
        """
        parameters = parameters or self.parameters
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if self.server_side else ssl.PROTOCOL_TLS_CLIENT)
        if not self.server_side:
            context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        where = f"{self.where}.tls_params"
        try:
            with warnings.catch_warnings():
                # Python has its own opinion of versions before 1.2; whoever configures them has heard it.
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = ssl.TLSVersion(parameters.lowest)
                context.maximum_version = ssl.TLSVersion(parameters.highest)
        except ValueError as error:
            raise ConfigError(f"the TLS version can not be had: {error}", where) from None
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        # OpenSSL would refuse a client that begins anew, and go on; `ServerContext` ends the connection.
        context.options |= ALLOW_CLIENT_RENEGOTIATION if self.server_side else ssl.OP_NO_RENEGOTIATION
        names = ":".join(ciphers or parameters.ciphers)
        context.set_ciphers(names + (":@SECLEVEL=0" if parameters.is_old else ""))
        _set_algorithms(context, parameters, where)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if certificate is not None:
            certificate.load_into(context)
        if self.validator.verifies_chain:
            _load_trusted(context, self.validator, self.where)
        return context


def read_protocols(names: Iterable[str], path: str) -> tuple[str, ...]:
    """As Envoy, which joins them with commas first, and takes apart what it has then: `h2,http/1.1` are two.

    Raises:
        ConfigError: one is too long, or all of them are.
    """
    joined = ",".join(names).encode()
    found = joined.split(b",") if joined else []
    if len(joined) >= _MAX_PROTOCOLS or any(len(each) > _MAX_PROTOCOL for each in found):
        raise ConfigError("Invalid ALPN protocol string", path)
    return tuple(each.decode("latin-1") for each in found)


def _shown_certificates(
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


def _set_algorithms(context: ssl.SSLContext, parameters: TlsParameters, path: str) -> None:
    """Curves and signature algorithms; Python's `ssl` itself can choose one curve or leave it to the library."""
    told = native(context)
    refused = False
    if told is not None:
        refused = not told.set_curves(parameters.curves)
    elif parameters.curve:
        try:
            context.set_ecdh_curve(_CURVES.get(parameters.curve, parameters.curve))
        except ValueError:
            refused = True
    if refused:
        raise ConfigError(
            f"Failed to initialize ECDH curves {':'.join(parameters.curves)}",
            f"{path}.ecdh_curves",
            remedy=f"{ssl.OPENSSL_VERSION} does not have them all",
        )
    if told is None:
        return
    told.show_no_more_than_configured()
    algorithms = parameters.signature_algorithms
    if algorithms and not told.set_signature_algorithms(algorithms):
        raise ConfigError(
            f"Failed to initialize TLS signature algorithms {':'.join(algorithms)}", f"{path}.signature_algorithms"
        )
    if parameters.ciphers_13 and not told.set_ciphersuites(parameters.ciphers_13):
        raise ConfigError(
            f"{ssl.OPENSSL_VERSION} does not have {' and '.join(parameters.ciphers_13)}", f"{path}.compliance_policies"
        )


def _load_trusted(context: ssl.SSLContext, validator: CertValidator, path: str) -> None:
    where = f"{path}.validation_context"
    try:
        context.load_verify_locations(cadata=validator.trusted_ca.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ConfigError("Failed to load trusted CA certificates from <inline>", f"{where}.trusted_ca") from None
    if validator.checks_revocation:
        with MemoryFile(validator.trusted_ca + b"\n" + validator.crl) as name:
            try:
                context.load_verify_locations(cafile=name)
            except ssl.SSLError:
                raise ConfigError("Failed to load CRL from <inline>", f"{where}.crl") from None
        context.verify_flags |= (
            ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF if validator.only_leaf_crl else ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
        )
    # Whatever is trusted may end the chain, also what somebody else has signed.
    context.verify_flags |= _PARTIAL_CHAIN
    if validator.allows_expired:
        context.verify_flags |= _NO_CHECK_TIME
