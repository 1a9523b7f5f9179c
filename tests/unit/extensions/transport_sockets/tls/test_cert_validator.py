"""Which certificates are wanted, beyond what OpenSSL verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from minienvoy.config.loader import load_message
from minienvoy.errors import ConfigError
from minienvoy.extensions.transport_sockets.tls.cert_validator import CertValidator, dns_name_match
from minienvoy.network.ssl_handshaker import Refused
from minienvoy.network.ssl_stats import SslStats
from minienvoy.network.x509 import certificates_of
from minienvoy.stats.store import Store

TLS = Path(__file__).parents[4] / "data" / "tls"
CONTEXT = "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext"


def validator(text: str, store: Store | None = None) -> CertValidator:
    config = load_message(
        text.replace("@CA", f"trusted_ca: {{filename: {TLS}/ca.pem}}"), CONTEXT, syntax="yaml"
    ).message
    return CertValidator(config, SslStats((store or Store()).scope("ssl")), "here")


def accepts(text: str, name: str, *names: str) -> bool:
    try:
        validator(text).verify(tuple(certificates_of((TLS / f"{name}.pem").read_bytes())), "", names)
    except Refused:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "pattern", "matches"),
    [
        ("a.test", "a.test", True),
        ("A.test", "a.TEST", True),
        ("x.a.test", "*.a.test", True),
        ("a.test", "*.a.test", False),
        ("y.x.a.test", "*.a.test", False),
        ("xyz.a.test", "x*z.a.test", True),
        ("xz.a.test", "x*z.a.test", True),
        ("x.a.test", "x*x.a.test", False),
        ("x.a.test", "**.a.test", False),
        ("xn--a.a.test", "*.a.test", False),
        ("x.a.test", "x.*.test", False),
        ("test", "*", False),
    ],
)
def test_a_wildcard_stands_for_one_label_or_a_part_of_it(name, pattern, matches):
    assert dns_name_match(name, pattern) is matches


@pytest.mark.parametrize(
    ("kind", "matcher", "accepted"),
    [
        ("DNS", "exact: client.test", True),
        ("DNS", "exact: no.test", False),
        ("DNS", "suffix: .test", True),
        ("URI", "prefix: 'spiffe://test/'", True),
        ("EMAIL", "safe_regex: {regex: '.*@client.test'}", True),
        ("IP_ADDRESS", "exact: 10.1.2.3", True),
        ("IP_ADDRESS", "exact: client.test", False),
        ("URI", "exact: client.test", False),
    ],
)
def test_a_name_must_match_by_its_kind(kind, matcher, accepted):
    text = f"{{@CA, match_typed_subject_alt_names: [{{san_type: {kind}, matcher: {{{matcher}}}}}]}}"
    assert accepts(text, "client") is accepted


def test_names_of_the_request_must_be_there_as_well_as_those_of_the_configuration():
    text = "{@CA, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: %s}}]}"
    assert accepts(text % "two.test", "client", "client.test")
    assert not accepts(text % "no.test", "client", "client.test")
    assert not accepts(text % "two.test", "client", "other.test")


def test_a_pin_must_be_met_as_well_as_a_name():
    digest = certificates_of((TLS / "client.pem").read_bytes())[0].fingerprint_256
    colons = ":".join(digest[at : at + 2].upper() for at in range(0, 64, 2))
    for pin in (digest, colons):
        text = f"{{@CA, verify_certificate_hash: ['{pin}'], match_subject_alt_names: [{{suffix: client.test}}]}}"
        assert accepts(text, "client")
        assert not accepts(text, "bare")


def test_what_is_refused_is_counted():
    store = Store()
    text = "{@CA, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: no.test}}]}"
    with pytest.raises(Refused, match=r"SAN matcher, certificate SANs are \[spiffe://test/client, client.test, two"):
        validator(text, store).verify(tuple(certificates_of((TLS / "client.pem").read_bytes())))
    assert store.value("ssl.fail_verify_san") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{match_subject_alt_names: [{exact: a}]}", "without trusted CA is insecure"),
        ("{allow_expired_certificate: true}", "always ignored without trusted CA"),
        ("{@CA, verify_certificate_hash: ['00']}", "Invalid hex-encoded SHA-256 00"),
        ("{@CA, verify_certificate_spki: ['AAAA']}", "Invalid base64-encoded SHA-256 AAAA"),
        ("{crl: {inline_string: nothing}}", "without trusted CA"),
        ("{trusted_ca: {inline_string: '-----BEGIN CERTIFICATE-----'}}", "Failed to load trusted CA"),
        ("{trusted_ca: {inline_bytes: 'AAAA'}}", "Failed to load trusted CA"),
        ("{@CA, match_typed_subject_alt_names: [{san_type: OTHER_NAME, matcher: {exact: a}}]}", "SAN matcher"),
    ],
)
def test_a_context_that_can_not_be_is_refused(text, says):
    with pytest.raises(ConfigError, match=says):
        validator(text)


def test_the_authorities_of_the_system_are_verified_against(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "ca.pem"))
    names = "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: client.test}}]"
    made = validator(f"{{system_root_certs: {{}}, {names}}}")
    assert made.verifies_chain
    assert [each.subject for each in made.authorities] == [certificates_of((TLS / "ca.pem").read_bytes())[0].subject]
    assert made.source == str(TLS / "ca.pem")


def test_a_trusted_authority_stands_for_those_of_the_system(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "other_ca.pem"))
    made = validator("{system_root_certs: {}, @CA}")
    assert made.source == str(TLS / "ca.pem")


def test_a_system_that_trusts_nobody_is_refused(monkeypatch, tmp_path):
    for content in (None, "nothing"):
        if content is not None:
            (tmp_path / "none.pem").write_text(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        with pytest.raises(ConfigError) as refused:
            validator("system_root_certs: {}")
        assert refused.value.path == "here.system_root_certs"


def test_comments_of_a_bundle_need_not_be_ascii(monkeypatch, tmp_path):
    bundle = tmp_path / "all.pem"
    bundle.write_bytes("# Autorité\n".encode() + (TLS / "ca.pem").read_bytes() + "# Ελλάδα\n".encode())
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert validator("system_root_certs: {}").trusted_ca.isascii()
