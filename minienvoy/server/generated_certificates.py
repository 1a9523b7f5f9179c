"""Certificates in place of the files and secrets that a configuration names, so that it runs where those are not.

No Envoy counterpart: `Proxy(certificates="generated")`. The configuration of production names files that the machine of
the tests does not have, and must not have. What is replaced:

* a certificate with its key from files, or from a secret: by one that the test's authority has issued for the
  server names, or else for the domains of the virtual hosts, of its filter chain, and for this machine;
* trusted certificates from a file, from a secret or of the system: by the authority;
* pins and revocation lists beside those are about certificates that do not occur any more, and are left out.

What stands in the configuration itself, inline, stays; so do names that must be in a certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..config.api import TYPED_STRUCTS, unpack
from ..config.schema import submessages
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..network.certificate_authority import CertificateAuthority

_TLS: Final = "envoy.extensions.transport_sockets.tls.v3."
_CONTEXT, _FILTER_CHAIN = f"{_TLS}CommonTlsContext", "envoy.config.listener.v3.FilterChain"
_CERTIFICATE, _VALIDATION = f"{_TLS}TlsCertificate", f"{_TLS}CertificateValidationContext"
_VIRTUAL_HOST: Final = "envoy.config.route.v3.VirtualHost"
_HERE: Final = ("localhost", "127.0.0.1", "::1")
_IN_FILES: Final = ("certificate_chain", "private_key", "pkcs12", "password", "ocsp_staple")
_MAX_NAMES: Final = 100


def generate_certificates(bootstrap: Any, authority: CertificateAuthority) -> None:
    """Replace what a bootstrap names by what `authority` issues, in place.

    Raises:
        ConfigError: an `Any` holds what it does not say.
    """
    _Generator(authority).visit(bootstrap, ())


class _Generator:
    def __init__(self, authority: CertificateAuthority) -> None:
        self._authority = authority
        self._issued: dict[tuple[str, ...], Any] = {}

    def visit(self, message: Any, names: tuple[str, ...]) -> None:
        """`names` are those of the filter chain that it is in."""
        kind = message.DESCRIPTOR.full_name
        if kind == "google.protobuf.Any":
            self._visit_any(message, names)
            return
        if kind == _FILTER_CHAIN:
            names = _names_of_chain(message)
        elif kind == _CONTEXT:
            self._resolve_secrets(message, names)
        elif kind == _CERTIFICATE:
            if any(message.HasField(each) and getattr(message, each).filename for each in _IN_FILES):
                self._fill_certificate(message, names)
            return
        elif kind == _VALIDATION:
            if message.HasField("system_root_certs") or message.trusted_ca.filename or message.crl.filename:
                self._fill_validation(message)
            return
        for field, value in message.ListFields():
            for _, inner in submessages(field, value, ""):
                self.visit(inner, names)

    def _visit_any(self, message: Any, names: tuple[str, ...]) -> None:
        if not message.type_url:
            return
        try:
            inner = unpack(message)
        except ConfigError:
            return  # whoever takes it will say what is wrong
        if inner.DESCRIPTOR.full_name in TYPED_STRUCTS:
            return
        before = inner.SerializeToString(deterministic=True)
        self.visit(inner, names)
        if inner.SerializeToString(deterministic=True) != before:
            message.Pack(inner)

    def _resolve_secrets(self, context: Any, names: tuple[str, ...]) -> None:
        for _ in context.tls_certificate_sds_secret_configs:
            self._fill_certificate(context.tls_certificates.add(), names)
        context.ClearField("tls_certificate_sds_secret_configs")
        kind = context.WhichOneof("validation_context_type")
        if kind == "validation_context_sds_secret_config":
            self._fill_validation(context.validation_context)
        elif kind == "combined_validation_context":
            found = type(context.validation_context)()
            found.CopyFrom(context.combined_validation_context.default_validation_context)
            self._fill_validation(found)
            context.validation_context.CopyFrom(found)

    def _fill_certificate(self, certificate: Any, names: tuple[str, ...]) -> None:
        for each in (*_IN_FILES, "watched_directory", "private_key_provider", "signed_certificate_timestamp"):
            certificate.ClearField(each)
        names = tuple(dict.fromkeys((*names, *_HERE)))
        leaf = self._issued.get(names)
        if leaf is None:
            leaf = self._issued[names] = self._authority.issue(*names)
        certificate.certificate_chain.inline_bytes = leaf.certificate
        certificate.private_key.inline_bytes = leaf.private_key

    def _fill_validation(self, context: Any) -> None:
        for each in ("system_root_certs", "watched_directory", "crl", "verify_certificate_hash"):
            context.ClearField(each)
        context.ClearField("verify_certificate_spki")
        context.trusted_ca.inline_bytes = self._authority.certificate


def _names_of_chain(chain: Any) -> tuple[str, ...]:
    """The names that its clients may ask for."""
    found = dict.fromkeys(chain.filter_chain_match.server_names)
    if not found:
        for each in chain.filters:
            if each.HasField("typed_config"):
                _add_domains(each.typed_config, found)
    return tuple(name for name in found if _can_be_certified(name))[:_MAX_NAMES]


def _add_domains(message: Any, found: dict[str, None]) -> None:
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        try:
            message = unpack(message)
        except ConfigError:
            return
    if message.DESCRIPTOR.full_name == _VIRTUAL_HOST:
        for domain in message.domains:
            found.setdefault(domain.partition(":")[0])
        return
    for field, value in message.ListFields():
        for _, inner in submessages(field, value, ""):
            _add_domains(inner, found)


def _can_be_certified(name: str) -> bool:
    plain = name.removeprefix("*.")
    return bool(plain) and plain.isascii() and all(label and "*" not in label for label in plain.split("."))
