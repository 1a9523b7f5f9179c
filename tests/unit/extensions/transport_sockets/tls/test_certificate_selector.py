"""Which certificate a client is shown, and with which parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minienvoy.config.schema import message_class
from minienvoy.errors import ConfigError
from minienvoy.extensions.transport_sockets.tls.certificate import TlsCertificate
from minienvoy.extensions.transport_sockets.tls.certificate_selector import CertificateSelector
from minienvoy.extensions.transport_sockets.tls.ocsp import MUST_STAPLE, STRICT_STAPLING, Stapler, StapleTooOld
from minienvoy.extensions.transport_sockets.tls.tls_parameters import TYPE as PARAMETERS
from minienvoy.extensions.transport_sockets.tls.tls_parameters import TlsParameters
from minienvoy.network.client_hello import ClientHello
from minienvoy.network.ssl_stats import SslStats
from minienvoy.stats.store import Store

TLS = Path(__file__).parents[4] / "data" / "tls"
CERTIFICATE = "envoy.extensions.transport_sockets.tls.v3.TlsCertificate"
ECDSA_SUITE, RSA_SUITE = 0xC02B, 0xC02F
P_256, P_384, ECDSA_SHA_256, RSA_SHA_256 = 0x17, 0x18, 0x0403, 0x0804


def certificate(name: str, staple: str = "") -> TlsCertificate:
    config = message_class(CERTIFICATE)()
    config.certificate_chain.filename = str(TLS / f"{name}.pem")
    config.private_key.filename = str(TLS / f"{name}.key")
    if staple:
        config.ocsp_staple.filename = str(TLS / f"{staple}.ocsp")
    return TlsCertificate(config, name)


def hello(name: str = "", *, modern: bool = True, **more: Any) -> ClientHello:
    known = {
        "protocols": (),
        "size": 200,
        "version": 0x0303,
        "ciphers": (ECDSA_SUITE, RSA_SUITE),
        "extensions": (43, 13) if modern else (13,),
        "groups": (P_256,),
        "point_formats": b"",
        "signatures": (ECDSA_SHA_256, RSA_SHA_256),
    }
    return ClientHello(name, **known | more)


def parameters(**settings: Any) -> TlsParameters:
    return TlsParameters(message_class(PARAMETERS)(**settings), server_side=True)


class Selector:
    def __init__(self, *names: Any, full_scan: bool = False, policy: int = 0, **settings: Any) -> None:
        shown = [certificate(*name) if isinstance(name, tuple) else certificate(name) for name in names]
        stats = SslStats(Store().scope("ssl"))
        self.counters = stats.counters
        stapler = Stapler(shown, policy, lambda: 1.8e9, stats, "")
        self._selector = CertificateSelector(shown, parameters(**settings), stapler, full_scan=full_scan)

    def select(self, hello: ClientHello | None) -> str:
        return self._selector.select(hello).path


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        (hello("a.test"), "server_ecdsa"),
        (hello("a.test", signatures=(RSA_SHA_256,)), "server"),
        (hello("a.test", signatures=()), "server"),
        (hello("a.test", extensions=(43,)), "server"),
        (hello("a.test", ciphers=(RSA_SUITE,)), "server_ecdsa"),
        (hello("a.test", modern=False), "server_ecdsa"),
        (hello("a.test", modern=False, ciphers=(RSA_SUITE,)), "server"),
        (hello("a.test", modern=False, groups=(P_384,)), "server"),
        (hello("a.test", modern=False, groups=()), "server"),
        (hello("a.test", modern=False, version=0x0302), "server"),
        (hello(), "server_ecdsa"),
        (hello("other.test"), "server"),
        (None, "server"),
    ],
)
def test_of_two_kinds_of_key_the_client_decides(client, shown):
    assert Selector("server", "server_ecdsa").select(client) == shown


@pytest.mark.parametrize(
    ("name", "full_scan", "shown"),
    [
        ("b.test", False, "b"),
        ("x.wild.test", False, "server"),
        ("wild.test", False, "b"),
        (".wild.test", False, "server"),
        ("B.test", False, "b"),
        ("nobody.test", False, "b"),
        ("nobody.test", True, "b"),
        ("x.", False, "b"),
    ],
)
def test_names_and_wildcards(name, full_scan, shown):
    assert Selector("b", "server", full_scan=full_scan).select(hello(name)) == shown


def test_a_name_whose_only_certificate_does_not_suit_is_as_good_as_none():
    client = hello("b.test", modern=False, ciphers=(RSA_SUITE,))
    assert Selector("server", "b").select(client) == "server"
    assert Selector("b", "server").select(client) == "b"
    assert Selector("b", "server", full_scan=True).select(client) == "server"


def test_suites_of_the_context_count():
    rsa = Selector("server", "server_ecdsa", cipher_suites=["ECDHE-RSA-AES128-GCM-SHA256"])
    assert rsa.select(hello("a.test", modern=False)) == "server"
    assert rsa.select(hello("a.test")) == "server_ecdsa"
    old = Selector("server", "server_ecdsa", tls_maximum_protocol_version=3)
    assert old.select(hello("a.test", groups=())) == "server"


def test_a_certificate_whose_staple_is_too_old_is_not_shown_if_there_is_another():
    selector = Selector(("server", "server_expired"), ("server_ecdsa", "server_ecdsa"), policy=STRICT_STAPLING)
    asks = (43, 13, 5)
    assert selector.select(hello("a.test", extensions=asks)) == "server_ecdsa"
    assert selector.select(hello("a.test", extensions=asks, signatures=(ECDSA_SHA_256,))) == "server_ecdsa"
    assert selector.counters.ocsp_staple_responses == 2


@pytest.mark.parametrize("policy", [STRICT_STAPLING, MUST_STAPLE])
def test_the_only_certificate_is_not_shown_with_an_old_staple(policy):
    selector = Selector(("server", "server_expired"), policy=policy)
    assert selector.select(hello("a.test")) == "server"
    with pytest.raises(StapleTooOld):
        selector.select(hello("a.test", extensions=(43, 13, 5)))
    assert selector.counters.ocsp_staple_requests == selector.counters.ocsp_staple_failed == 1


def test_parameters_of_a_certificate_come_before_those_of_the_context():
    context = parameters(tls_minimum_protocol_version=4, ecdh_curves=["P-384"], cipher_suites=["AES128-SHA"])
    own = context.overridden(
        message_class(PARAMETERS)(cipher_suites=["[AES128-SHA|AES256-SHA]"], tls_minimum_protocol_version=3), ""
    )
    assert (own.lowest, own.highest, own.curves) == (0x0303, 0x0304, ("P-384",))
    assert own.cipher_groups == (("AES128-SHA", "AES256-SHA"),)
    assert (context.lowest, context.ciphers) == (0x0304, ("AES128-SHA",))
    strict = context.overridden(message_class(PARAMETERS)(compliance_policies=[0]), "")
    assert (strict.lowest, strict.curves) == (0x0303, ("P-256", "P-384"))
    assert strict.ciphers_13 == ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256")


def test_no_version_is_left():
    with pytest.raises(ConfigError, match="effective min protocol version exceeds effective max"):
        parameters(tls_maximum_protocol_version=3).overridden(
            message_class(PARAMETERS)(tls_minimum_protocol_version=4), ""
        )
