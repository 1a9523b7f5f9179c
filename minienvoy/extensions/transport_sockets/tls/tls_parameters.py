"""Versions, cipher suites, curves and signature algorithms of a context.

Envoy: `Extensions::TransportSockets::Tls::ContextConfigImpl` (`source/common/tls/context_config_impl.cc`);
`envoy.extensions.transport_sockets.tls.v3.TlsParameters`.
"""

from __future__ import annotations

import ssl
from copy import copy
from typing import Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from .boringssl_names import CURVES, SIGNATURES, cipher_groups, known_names, rejected_names
from .cipher_order import cipher_numbers
from .native_context import library

TYPE: Final = "envoy.extensions.transport_sockets.tls.v3.TlsParameters"
ALLOW_CLIENT_RENEGOTIATION: Final = 1 << 8
"""`SSL_OP_ALLOW_CLIENT_RENEGOTIATION`, since OpenSSL 3.0."""
TLS_1_2, TLS_1_3 = 0x0303, 0x0304
_VERSIONS: Final = {1: 0x0301, 2: 0x0302, 3: TLS_1_2, 4: TLS_1_3}
"""`TlsParameters.TlsProtocol`; 0 is the default of the side."""
DEFAULT_CIPHERS: Final = (
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384",),
    ("ECDHE-RSA-AES256-GCM-SHA384",),
)
"""Among those in one pair of brackets a client may choose."""
DEFAULT_CURVES: Final = ("X25519", "P-256")
_FIPS_CIPHERS: Final = (
    ("ECDHE-ECDSA-AES128-GCM-SHA256",),
    ("ECDHE-RSA-AES128-GCM-SHA256",),
    ("ECDHE-ECDSA-AES256-GCM-SHA384",),
    ("ECDHE-RSA-AES256-GCM-SHA384",),
)
VERIFIED_SIGNATURES: Final = (
    "ecdsa_secp256r1_sha256",
    "rsa_pss_rsae_sha256",
    "rsa_pkcs1_sha256",
    "ecdsa_secp384r1_sha384",
    "rsa_pss_rsae_sha384",
    "rsa_pkcs1_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pkcs1_sha512",
    "RSA+SHA1",
)
"""BoringSSL's choice of what peers may sign with."""
_FIPS_SIGNATURES: Final = (
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512",
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
)

honours(
    TYPE,
    "tls_minimum_protocol_version",
    "tls_maximum_protocol_version",
    "cipher_suites",
    "ecdh_curves",
    "signature_algorithms",
    when={"compliance_policies": lambda config: _only_fips(config)},
)


def _only_fips(config: Any) -> str | None:
    return None if list(config.compliance_policies) == [0] else "the only policy that is known is FIPS_202205"


class TlsParameters:
    """What is allowed, most preferred first.

    Attributes:
        lowest, highest: versions as they are on the wire.
        cipher_groups: of suites before TLS 1.3; those in one group are equally good.
        ciphers: all of them.
        signature_algorithms: empty for those of the library.
        ciphers_13: of TLS 1.3; empty for those of the library.
        needs_library: Python's `ssl` can not be told, nor the library that it is linked with.
    """

    def __init__(self, config: Any, path: str = "", *, server_side: bool) -> None:
        """Raises ConfigError: BoringSSL would not take a name."""
        self.lowest = _VERSIONS.get(config.tls_minimum_protocol_version, TLS_1_2)
        self.highest = _VERSIONS.get(config.tls_maximum_protocol_version, TLS_1_3 if server_side else TLS_1_2)
        self.cipher_groups = _cipher_groups(config.cipher_suites, path)
        own_curves = _names(config.ecdh_curves, CURVES, "ECDH curves", f"{path}.ecdh_curves")
        self.curves = own_curves or DEFAULT_CURVES
        self.signature_algorithms = _names(
            config.signature_algorithms, SIGNATURES, "TLS signature algorithms", f"{path}.signature_algorithms"
        )
        self.ciphers_13: tuple[str, ...] = ()
        self.curve = own_curves[0] if len(own_curves) == 1 else ""
        """The only one that is configured; empty if none or several are."""
        if config.compliance_policies:
            # Whatever else is said (`SSL_CTX_set_compliance_policy` comes last).
            self.lowest, self.highest = TLS_1_2, TLS_1_3
            self.cipher_groups, self.ciphers_13 = _FIPS_CIPHERS, ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256")
            self.curves, self.signature_algorithms = ("P-256", "P-384"), _FIPS_SIGNATURES
        self.ciphers = tuple(name for group in self.cipher_groups for name in group)
        more = len(own_curves) > 1 or self.signature_algorithms or config.compliance_policies
        self.needs_library = bool(more) and library() is None

    def overridden(self, config: Any, path: str) -> TlsParameters:
        """With what a certificate says about itself, `config`, in place of what the context says.

        Raises:
            ConfigError: no version is left.
        """
        own = TlsParameters(config, path, server_side=True)
        made = copy(self)
        strict = bool(config.compliance_policies)
        if strict or config.tls_minimum_protocol_version:
            made.lowest = own.lowest
        if strict or config.tls_maximum_protocol_version:
            made.highest = own.highest
        if strict or config.cipher_suites:
            made.cipher_groups, made.ciphers = own.cipher_groups, own.ciphers
        if strict or config.ecdh_curves:
            made.curves, made.curve = own.curves, own.curve
        if strict or config.signature_algorithms:
            made.signature_algorithms = own.signature_algorithms
        made.ciphers_13 = own.ciphers_13 or self.ciphers_13
        made.needs_library = self.needs_library or own.needs_library
        if made.lowest > made.highest:
            raise ConfigError(
                "Per-certificate tls_params: effective min protocol version exceeds effective max "
                "(considering inherited context bounds)",
                path,
            )
        return made

    @property
    def is_old(self) -> bool:
        """A version before 1.2 may be spoken, whose algorithms are weak."""
        return self.lowest < TLS_1_2


def _cipher_groups(suites: Any, path: str) -> tuple[tuple[str, ...], ...]:
    """Those of BoringSSL's rules that OpenSSL has, too."""
    rules = ":".join(suites)
    if not rules:
        return DEFAULT_CIPHERS
    where = f"{path}.cipher_suites"
    groups = cipher_groups(rules)
    if groups is None:
        raise ConfigError(
            f"Failed to initialize cipher suites {rules}. "
            f"The following ciphers were rejected when tried individually: {', '.join(rejected_names(rules))}",
            where,
        )
    known = cipher_numbers()
    found = tuple(left for group in groups if (left := tuple(name for name in group if name in known)))
    if not found:
        raise ConfigError(
            f"Failed to initialize cipher suites {rules}", where, remedy=f"{ssl.OPENSSL_VERSION} has none of them"
        )
    return found


def _names(names: Any, known: dict[str, str], kind: str, path: str) -> tuple[str, ...]:
    """As OpenSSL calls them; empty for its own."""
    listed = ":".join(names)
    if not listed:
        return ()
    found = known_names(names, known)
    if found is None:
        raise ConfigError(f"Failed to initialize {kind} {listed}", path)
    return found
