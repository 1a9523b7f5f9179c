"""`envoy.tls.cert_validator.spiffe`: of several authorities, each vouches for the names of its own trust domain.

Envoy: `Extensions::TransportSockets::Tls::SPIFFEValidator`; docs "SPIFFE Certificate Validator"; the SPIFFE X.509-SVID
specification, sections 4 and 5; for bundles in JSON "SPIFFE Trust Domain and Bundle", section 4.
"""

from __future__ import annotations

import json
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from OpenSSL import crypto

from ....config.api import unpack
from ....config.data_source import read_data_source
from ....config.fields import honours
from ....errors import ConfigError
from ....network.openssl_session import verification_error
from ....network.ssl_handshaker import CERTIFICATE_UNKNOWN
from ....network.ssl_stats import SslStats
from ....network.x509 import URI, Certificate, certificates_of
from .cert_validator import CERT_VALIDATORS, CertValidator

TYPE: Final = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
_NO_CHECK_TIME: Final = 0x200000
_MAY_SIGN: Final = 0x06
"""`keyCertSign` and `cRLSign`."""

honours(TYPE, "trust_domains", "trust_bundles")
honours(f"{TYPE}.TrustDomain", "name", "trust_bundle", "workload_trust_domain")


class SpiffeValidator(CertValidator):
    """Looks at the whole chain itself: which authorities count depends on the name in the peer's certificate."""

    def __init__(self, config: Any, stats: SslStats, path: str) -> None:
        plain = type(config)()
        plain.CopyFrom(config)
        for field in ("custom_validator_config", "trusted_ca", "system_root_certs", "allow_expired_certificate", "crl"):
            plain.ClearField(field)
        names = plain.match_typed_subject_alt_names
        matchers = type(plain)()
        matchers.match_typed_subject_alt_names.extend(names)
        plain.ClearField("match_typed_subject_alt_names")
        plain.ClearField("match_subject_alt_names")
        super().__init__(plain, stats, path)
        self.add_matchers(matchers, path)
        self.accepts_untrusted = False  # Envoy's does not look at `trust_chain_verification`
        self.allows_expired = config.allow_expired_certificate
        self.wants_certificate = True
        self.requires_certificate = True
        where = f"{path}.custom_validator_config.typed_config"
        own = unpack(config.custom_validator_config.typed_config, where)  # Envoy checks no constraints of it
        bundles = _bundles(own, where)
        self._stores = {domain: self._store(authorities) for domain, authorities in bundles.items()}
        self.authorities = tuple(each for authorities in bundles.values() for each in authorities)
        self.source = "<inline>"

    def needs_library(self, server_side: bool) -> bool:
        return True

    def verify(
        self,
        chain: tuple[Certificate, ...],
        chain_error: str = "",
        names: tuple[str, ...] = (),
        of_request: bool = True,
    ) -> None:
        reason = self._error_of(chain)
        if reason:
            self._stats.fail_verify_error += 1
            self._may_refuse(reason, CERTIFICATE_UNKNOWN)
            return
        super().verify(chain, "", names, of_request)

    # -- inside

    def _error_of(self, chain: tuple[Certificate, ...]) -> str:
        """What is wrong, in Envoy's words; empty if nothing is."""
        if not _is_leaf(chain[0]):
            return "verify cert failed: SPIFFE validator precheck"
        store = self._stores.get(trust_domain(chain[0]))
        if store is None:
            return "no trust bundle store"
        peer, *others = (crypto.load_certificate(crypto.FILETYPE_ASN1, each.der) for each in chain)
        try:
            crypto.X509StoreContext(store, peer, others).verify_certificate()
        except crypto.X509StoreContextError as error:
            number, depth = error.errors[0], error.errors[1]
            return verification_error(number, depth)
        return ""

    def _store(self, authorities: Iterable[Certificate]) -> Any:
        store = crypto.X509Store()
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN | (_NO_CHECK_TIME if self.allows_expired else 0))
        for each in authorities:
            store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, each.der))
        return store


CERT_VALIDATORS.register("envoy.tls.cert_validator.spiffe", TYPE)(SpiffeValidator)


def trust_domain(certificate: Certificate) -> str:
    """Of the first SPIFFE name in it; empty if there is none."""
    for name in certificate.names(URI):
        if name.startswith("spiffe://"):
            domain, slash, _ = name.removeprefix("spiffe://").partition("/")
            return domain if slash else ""
    return ""


def _is_leaf(certificate: Certificate) -> bool:
    """It may not sign other certificates or lists."""
    return not certificate.is_authority and not (certificate.key_usage or 0) & _MAY_SIGN


def _bundles(config: Any, path: str) -> Mapping[str, list[Certificate]]:
    if config.HasField("trust_bundles"):
        return _from_json(read_data_source(config.trust_bundles, f"{path}.trust_bundles"), f"{path}.trust_bundles")
    found: dict[str, list[Certificate]] = {}
    for at, domain in enumerate(config.trust_domains):
        where = f"{path}.trust_domains[{at}]"
        if domain.name in found:
            raise ConfigError(
                f"Multiple trust bundles are given for one trust domain for {domain.name}, "
                f"workload:{domain.workload_trust_domain}",
                where,
            )
        pem = read_data_source(domain.trust_bundle, f"{where}.trust_bundle")
        try:
            found[domain.name] = certificates_of(pem)
        except (ValueError, IndexError):
            found[domain.name] = []
        if not found[domain.name]:
            raise ConfigError(f"Failed to load trusted CA certificate for {domain.name}", f"{where}.trust_bundle")
    return found


def _from_json(data: bytes, path: str) -> Mapping[str, list[Certificate]]:
    try:
        bundle = json.loads(data)
    except ValueError:
        raise ConfigError("Invalid JSON found in SPIFFE bundle", path) from None
    domains = bundle.get("trust_domains") if isinstance(bundle, dict) else None
    if not isinstance(domains, dict) or not domains:
        raise ConfigError("No trust domains found in SPIFFE bundle", path)
    found: dict[str, list[Certificate]] = {}
    for name, domain in domains.items():
        keys = domain.get("keys") if isinstance(domain, dict) else None
        if not isinstance(keys, list) or not keys:
            raise ConfigError(f"No keys found in SPIFFE bundle for domain '{name}'", path)
        found[name] = [_authority(key, name, path) for key in keys]
    return found


def _authority(key: Any, domain: str, path: str) -> Certificate:
    if not isinstance(key, dict) or key.get("use") != "x509-svid":
        raise ConfigError(f"missing or invalid 'use' field found in cert for domain '{domain}'", path)
    listed = key.get("x5c")
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"missing or empty 'x5c' field found in keys for domain: '{domain}'", path)
    try:
        return Certificate(a2b_base64(listed[0]))
    except (Base64Error, ValueError, IndexError, TypeError):
        raise ConfigError(f"Invalid x509 object in certs for domain '{domain}'", path) from None
