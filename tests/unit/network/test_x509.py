"""What certificates say."""

from __future__ import annotations

from pathlib import Path

import pytest

from minienvoy.network.x509 import DNS, EMAIL, IP, OTHER_NAME, URI, Certificate, certificates_of

TLS = Path(__file__).parents[2] / "data" / "tls"


def certificate(name: str) -> Certificate:
    (found,) = certificates_of((TLS / f"{name}.pem").read_bytes())
    return found


def test_names_are_written_as_rfc_2253_has_them():
    client = certificate("client")
    assert client.subject == "CN=client,OU=unit,O=Org\\, Inc.,C=NL"
    assert client.issuer == "CN=Test CA"


def test_serial_numbers_have_whole_bytes():
    assert certificate("client").serial_number == "0badcafe01"
    assert certificate("ca").serial_number == "01"


def test_subject_alt_names_are_told_by_kind():
    client = certificate("client")
    assert client.names(URI) == ("spiffe://test/client",)
    assert client.names(DNS) == ("client.test", "two.test")
    assert client.names(EMAIL) == ("me@client.test",)
    assert client.names(IP) == ("10.1.2.3",)
    assert client.names(OTHER_NAME) == ()
    assert certificate("bare").subject_alt_names == ()


def test_times_are_seconds_since_the_epoch_in_both_notations():
    assert certificate("expired").not_before == 1577836800  # UTCTime
    assert certificate("client").not_after == 4949509989  # GeneralizedTime, beyond 2050


def test_pem_is_what_was_read():
    text = (TLS / "client.pem").read_text()
    assert certificate("client").pem == text


def test_authority_has_issued_itself():
    assert certificate("ca").is_self_issued
    assert not certificate("client").is_self_issued


def test_key_algorithm_is_told_with_its_curve():
    assert certificate("server").algorithm == "1.2.840.113549.1.1.1"
    assert certificate("client").algorithm == "1.2.840.10045.2.1 1.2.840.10045.3.1.7"


def test_every_cut_is_an_error_and_nothing_else():
    der = certificate("client").der
    for size in range(len(der)):
        with pytest.raises((ValueError, IndexError)):
            Certificate(der[:size])


def test_a_certificate_without_its_end_is_an_error():
    with pytest.raises(ValueError, match="no end"):
        certificates_of(b"-----BEGIN CERTIFICATE-----\nAAAA\n")


@pytest.mark.parametrize(
    ("name", "authority", "usage"),
    [("ca", True, 0x06), ("client", False, 0xA0), ("acting_ca", True, 0x84), ("no_signing", False, 0x08)],
)
def test_what_a_certificate_may_be_used_for(name, authority, usage):
    (certificate,) = certificates_of((TLS / f"{name}.pem").read_bytes())
    assert certificate.is_authority is authority
    assert certificate.key_usage == usage


def test_the_issuer_is_found_by_its_name():
    (leaf, between), (authority,) = (certificates_of((TLS / f"{name}.pem").read_bytes()) for name in ("deep", "ca"))
    assert leaf.may_be_issued_by(between)
    assert between.may_be_issued_by(authority)
    assert not leaf.may_be_issued_by(authority)
