"""Which authority vouches for which name."""

from __future__ import annotations

from pathlib import Path

import pytest

from minienvoy.config.loader import load_message
from minienvoy.extensions.transport_sockets.tls.cert_validator import create_validator
from minienvoy.extensions.transport_sockets.tls.spiffe_validator import trust_domain
from minienvoy.network.ssl_handshaker import Refused
from minienvoy.network.ssl_stats import SslStats
from minienvoy.network.x509 import certificates_of
from minienvoy.stats.store import Store

TLS = Path(__file__).parents[4] / "data" / "tls"
CONTEXT = "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext"
CONFIG = f"""
custom_validator_config:
  name: envoy.tls.cert_validator.spiffe
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig
    trust_domains:
    - {{name: test, trust_bundle: {{filename: {TLS}/ca.pem}}}}
    - {{name: other, trust_bundle: {{filename: {TLS}/other_ca.pem}}}}
"""


def shown(name: str) -> tuple:
    return tuple(certificates_of((TLS / f"{name}.pem").read_bytes()))


@pytest.mark.parametrize(
    ("name", "domain"), [("client", "test"), ("other_domain", "other"), ("two_uris", "test"), ("bare", "")]
)
def test_the_first_spiffe_name_says_the_domain(name, domain):
    assert trust_domain(shown(name)[0]) == domain


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("client", ""),
        ("deep", ""),
        ("other_domain", ""),
        ("stranger", "unable to get local issuer certificate"),
        ("bare", "no trust bundle store"),
        ("acting_ca", "precheck"),
    ],
)
def test_an_authority_vouches_for_its_own_domain_only(name, error):
    store = Store()
    validator = create_validator(
        load_message(CONFIG, CONTEXT, syntax="yaml").message, SslStats(store.scope("ssl")), "here"
    )
    if not error:
        validator.verify(shown(name))
        return
    with pytest.raises(Refused, match=error):
        validator.verify(shown(name))
    assert store.value("ssl.fail_verify_error") == 1
