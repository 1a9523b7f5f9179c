"""Whether a peer's certificate is one that the configuration wants.

Envoy: `Extensions::TransportSockets::Tls::DefaultCertValidator`, `DnsExactStringSanMatcher`, `StringSanMatcher`;
`envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext`.

The chain up to a trusted authority, its times and revocations are OpenSSL's business, in the handshake. What is looked
at here comes on top of it: names, hashes, keys.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Iterable
from typing import Any, Final

from ....config.api import type_of
from ....config.data_source import read_data_source
from ....config.fields import honours
from ....errors import ConfigError
from ....matchers.string import compile_string_matcher
from ....network.ssl_handshaker import BAD_CERTIFICATE_HASH_VALUE, CERTIFICATE_UNKNOWN, Refused
from ....network.ssl_stats import SslStats
from ....network.x509 import DNS, EMAIL, IP, OTHER_NAME, URI, Certificate, certificates_of
from ....registry import Registry
from .system_authorities import system_authorities

_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3"
_CRL_BEGIN: Final = b"-----BEGIN X509 CRL-----"
VERIFY_TRUST_CHAIN, ACCEPT_UNTRUSTED = 0, 1
SAN_TYPES: Final = {1: EMAIL, 2: DNS, 3: URI, 4: IP, 5: OTHER_NAME}
"""`SubjectAltNameMatcher.SanType`."""


honours(
    f"{_TYPE}.CertificateValidationContext",
    "trusted_ca",
    "system_root_certs",
    "verify_certificate_spki",
    "verify_certificate_hash",
    "match_typed_subject_alt_names",
    "match_subject_alt_names",
    "crl",
    "allow_expired_certificate",
    "trust_chain_verification",
    "only_verify_leaf_cert_crl",
    "max_verify_depth",
    "custom_validator_config",
    "watched_directory",
    "suppress_client_ca_list",
    ignored={
        "require_signed_certificate_timestamp": "Envoy does not look at it either",
    },
)
honours(f"{_TYPE}.SubjectAltNameMatcher", "san_type", "matcher", "oid")

CERT_VALIDATORS: Registry[Callable[[Any, SslStats, str], CertValidator]] = Registry("envoy.tls.cert_validator")
"""(the validation context, the counters, its path)"""
_OID: Final = re.compile(r"[012](\.\d+)+")
SanMatcher = Callable[[Certificate], bool]


class CertValidator:
    """A compiled validation context; without one nothing is verified.

    Attributes:
        authorities: the certificates in `trusted_ca`, or the system's; `source` is where they come from.
        trusted_ca, crl: PEM; empty if there is none.
        verifies_chain: OpenSSL is to verify the chain in the handshake.
        accepts_untrusted: a peer whose certificate is not good is let in.
        wants_certificate: there is something to check a peer's certificate against.
        requires_certificate: a client without one is not let in, whatever else is configured.
        names_authorities: clients are told whose certificates are welcome.
        max_depth: of the chain; None for any.
        settings: the configuration, without what is in `trusted_ca` and `crl`.
    """

    def __init__(self, config: Any, stats: SslStats, path: str) -> None:
        self._stats = stats.counters
        self.trusted_ca = b""
        self.crl = b""
        self.accepts_untrusted = False
        self.allows_expired = False
        self.only_leaf_crl = False
        self._hashes: frozenset[str] = frozenset()
        self._keys: frozenset[bytes] = frozenset()
        self._matchers: tuple[SanMatcher, ...] = ()
        self.authorities: tuple[Certificate, ...] = ()
        self.source = ""
        self.max_depth: int | None = None
        self.names_authorities = False
        self.settings = b""
        if config is None:
            self.verifies_chain = self.wants_certificate = self.requires_certificate = False
            return
        settings = type(config)()
        settings.CopyFrom(config)
        for field in ("trusted_ca", "crl", "watched_directory"):
            settings.ClearField(field)
        self.settings = settings.SerializeToString(deterministic=True)
        if config.HasField("max_verify_depth"):
            self.max_depth = config.max_verify_depth.value
        self.source = config.trusted_ca.filename or "<inline>"
        trusts_somebody = config.HasField("trusted_ca")
        if trusts_somebody:
            self.trusted_ca = read_data_source(config.trusted_ca, f"{path}.trusted_ca")
        elif config.HasField("system_root_certs"):
            trusts_somebody = True
            self.source, self.trusted_ca = system_authorities(f"{path}.system_root_certs")
        if config.HasField("crl"):
            self.crl = read_data_source(config.crl, f"{path}.crl")
            if self.crl and not trusts_somebody:
                raise ConfigError(
                    f"Failed to load CRL from {config.crl.filename or '<inline>'} without trusted CA", f"{path}.crl"
                )
        self.accepts_untrusted = config.trust_chain_verification == ACCEPT_UNTRUSTED
        self.allows_expired = config.allow_expired_certificate
        self.only_leaf_crl = config.only_verify_leaf_cert_crl
        self._hashes = frozenset(_hash(each, path) for each in config.verify_certificate_hash)
        self._keys = frozenset(_key(each, path) for each in config.verify_certificate_spki)
        self.add_matchers(config, path)
        if trusts_somebody:
            try:
                self.authorities = tuple(certificates_of(self.trusted_ca))
            except (ValueError, IndexError):
                pass
            # An empty one, too: somebody wants peers to be checked.
            if not self.authorities:
                raise ConfigError(f"Failed to load trusted CA certificates from {self.source}", f"{path}.trusted_ca")
        self.names_authorities = bool(self.authorities) and not config.suppress_client_ca_list
        if not self.trusted_ca:
            if self._matchers:
                raise ConfigError(
                    "SAN-based verification of peer certificates without trusted CA is insecure and not allowed", path
                )
            if self.allows_expired:
                raise ConfigError(
                    "Certificate validity period is always ignored without trusted CA",
                    f"{path}.allow_expired_certificate",
                )
        self.verifies_chain = bool(self.trusted_ca)
        checked = bool(self._hashes or self._keys or self._matchers)
        self.requires_certificate = checked and not self.accepts_untrusted
        self.wants_certificate = bool(self.trusted_ca) or checked

    def add_matchers(self, config: Any, path: str) -> None:
        """The names of `config`, one of which must be in a certificate."""
        self._matchers = tuple(_matchers(config, path))

    def needs_library(self, server_side: bool) -> bool:
        """Python's `ssl` asks for certificates only to verify their chain, and can tell nobody what is wrong else."""
        if not server_side:
            return self.accepts_untrusted and self.verifies_chain
        more = self.accepts_untrusted or self._matchers or self.max_depth is not None or not self.trusted_ca
        return self.wants_certificate and bool(more or self.requires_certificate)

    def issuer_of(self, chain: tuple[Certificate, ...]) -> Certificate | None:
        """Who signed the first one of a chain that was verified."""
        return next((each for each in (*chain[1:], *self.authorities) if chain[0].may_be_issued_by(each)), None)

    @property
    def checks_revocation(self) -> bool:
        """Who is in no list is not let in: a text without one, where there should be lists, lets nobody in."""
        return bool(self.crl) or _CRL_BEGIN in self.trusted_ca

    def revocation_lists(self) -> list[Any]:
        """Those of `trusted_ca` and of `crl`, as `cryptography` has them."""
        from cryptography.x509 import load_pem_x509_crl

        parts = (self.trusted_ca + b"\n" + self.crl).split(_CRL_BEGIN)[1:]
        return [load_pem_x509_crl(_CRL_BEGIN + part) for part in parts]

    def verify(
        self,
        chain: tuple[Certificate, ...],
        chain_error: str = "",
        names: tuple[str, ...] = (),
        of_request: bool = True,
    ) -> None:
        """Judge a certificate.

        `chain_error`: what OpenSSL has against its chain, if it was asked to look at that and to let it pass.
        `names`: one of them must be in the certificate; `of_request` if it is the request that says so, otherwise they
        stand for what is configured.

        Raises:
            Refused: it is not what is wanted.
        """
        certificate = chain[0]
        if chain_error and self.verifies_chain:
            self._stats.fail_verify_error += 1
            self._may_refuse(chain_error, CERTIFICATE_UNKNOWN)
            return
        if names and not any(_verify_name(certificate, name) for name in names):
            self._stats.fail_verify_san += 1
            shown = _shown(certificate)
            wanted = f"verify SAN list, expected SANs: [{', '.join(names)}], certificate SANs: {shown}"
            self._may_refuse(
                wanted if of_request else f"SAN matcher, certificate SANs are {shown}", CERTIFICATE_UNKNOWN
            )
        if self._matchers and (of_request or not names) and not any(matches(certificate) for matches in self._matchers):
            self._stats.fail_verify_san += 1
            self._may_refuse(f"SAN matcher, certificate SANs are {_shown(certificate)}", CERTIFICATE_UNKNOWN)
        if (self._hashes or self._keys) and not (
            certificate.fingerprint_256 in self._hashes or certificate.public_key_hash in self._keys
        ):
            self._stats.fail_verify_cert_hash += 1
            self._may_refuse("cert hash and spki", BAD_CERTIFICATE_HASH_VALUE)

    def _may_refuse(self, details: str, alert: int) -> None:
        if not self.accepts_untrusted:
            raise Refused(details, alert)


def _hash(text: str, path: str) -> str:
    plain = text.replace(":", "").lower()
    if len(plain) != 64 or any(letter not in "0123456789abcdef" for letter in plain):
        raise ConfigError(f"Invalid hex-encoded SHA-256 {text}", f"{path}.verify_certificate_hash")
    return plain


def _key(text: str, path: str) -> bytes:
    try:
        found = a2b_base64(text)
    except Base64Error:
        found = b""
    if len(found) != 32:
        raise ConfigError(f"Invalid base64-encoded SHA-256 {text}", f"{path}.verify_certificate_spki")
    return found


def _matchers(config: Any, path: str) -> Iterable[SanMatcher]:
    typed = config.match_typed_subject_alt_names
    for at, each in enumerate(typed):
        where = f"{path}.match_typed_subject_alt_names[{at}]"
        if each.san_type not in SAN_TYPES:
            raise ConfigError("unhandled value for san_type", f"{where}.san_type")
        yield compile_san_matcher(each.matcher, f"{where}.matcher", SAN_TYPES[each.san_type], each.oid)
    if not typed:
        # Of those that say no type each stands for four.
        for at, matcher in enumerate(config.match_subject_alt_names):
            for kind in (DNS, URI, EMAIL, IP):
                yield compile_san_matcher(matcher, f"{path}.match_subject_alt_names[{at}]", kind)


def compile_san_matcher(matcher: Any, path: str, kind: int, oid: str = "") -> SanMatcher:
    """Of a certificate's names of one kind (`SAN_TYPES`); raises ConfigError as string matchers do."""
    if kind == OTHER_NAME and not _OID.fullmatch(oid):
        raise ConfigError(f"Failed to create SAN matcher for OTHER_NAME with OID: {oid}", path)
    if kind == DNS and matcher.WhichOneof("match_pattern") == "exact":
        wanted = matcher.exact
        return lambda certificate: any(dns_name_match(wanted, name) for name in certificate.names(DNS))
    matches = compile_string_matcher(matcher, path)
    if kind == OTHER_NAME:
        return lambda certificate: any(
            matches(value.encode())
            for tag, value, name in certificate.subject_alt_names
            if tag == OTHER_NAME and name == oid
        )
    return lambda certificate: any(matches(name.encode()) for name in certificate.names(kind))


def dns_name_match(name: str, pattern: str) -> bool:
    """Whether `name` is what a certificate says, which may have a wildcard in its first label (RFC 6125)."""
    name, pattern = name.lower(), pattern.lower()
    if name == pattern:
        return True
    label, dot, rest = pattern.partition(".")
    first, _, others = name.partition(".")
    if not dot or label.count("*") != 1 or others != rest or first.startswith("xn--") or label.startswith("xn--"):
        return False
    before, _, after = label.partition("*")
    return len(first) >= len(before) + len(after) and first.startswith(before) and first.endswith(after)


def _verify_name(certificate: Certificate, name: str) -> bool:
    return any(
        dns_name_match(name, value) if tag == DNS else value == name for tag, value, _ in certificate.subject_alt_names
    )


def _shown(certificate: Certificate) -> str:
    return "[" + ", ".join(value for kind, value, _ in certificate.subject_alt_names if kind != OTHER_NAME) + "]"


def create_validator(config: Any, stats: SslStats, path: str) -> CertValidator:
    """For a validation context, or for None.

    Raises:
        ConfigError: it can not be used.
    """
    if config is None or not config.HasField("custom_validator_config"):
        return CertValidator(config, stats, path)
    where = f"{path}.custom_validator_config.typed_config"
    custom = config.custom_validator_config
    return CERT_VALIDATORS.find(type_of(custom.typed_config, where), where, custom.name).factory(config, stats, path)
