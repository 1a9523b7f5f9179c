"""What two ends have agreed on, read from the bytes that they exchanged."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from minienvoy.network.handshake_messages import Agreed, read_agreement

TLS = Path(__file__).parents[2] / "data" / "tls"


def exchange(version: ssl.TLSVersion, certificate: str, client_certificate: str = "") -> tuple[bytes, bytes]:
    """(what the client sent, what the server sent) in a whole handshake."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(TLS / f"{certificate}.pem", TLS / f"{certificate}.key")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    if client_certificate:
        server.load_verify_locations(TLS / "ca.pem")
        server.verify_mode = ssl.CERT_REQUIRED
        client.load_cert_chain(TLS / f"{client_certificate}.pem", TLS / f"{client_certificate}.key")
    to_server, from_server, to_client, from_client = (ssl.MemoryBIO() for _ in range(4))
    ends = (
        client.wrap_bio(to_client, from_client),
        server.wrap_bio(to_server, from_server, server_side=True),
    )
    by_client, by_server = b"", b""
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            sent = from_client.read()
            by_client += sent
            to_server.write(sent)
            sent = from_server.read()
            by_server += sent
            to_client.write(sent)
    return by_client, by_server


def test_tls_1_2_tells_group_and_the_servers_signature():
    by_client, by_server = exchange(ssl.TLSVersion.TLSv1_2, "server")
    assert read_agreement(by_server, by_client, False) == Agreed("X25519", "rsa_pss_rsae_sha256", 0x0303)
    by_client, by_server = exchange(ssl.TLSVersion.TLSv1_2, "server_ecdsa")
    assert read_agreement(by_server, by_client, False) == Agreed("X25519", "ecdsa_secp256r1_sha256", 0x0303)


def test_a_server_sees_the_clients_signature_if_there_is_one():
    by_client, by_server = exchange(ssl.TLSVersion.TLSv1_2, "server")
    assert read_agreement(by_client, by_server, True) == Agreed("X25519", "", 0x0303)
    by_client, by_server = exchange(ssl.TLSVersion.TLSv1_2, "server", "client")
    assert read_agreement(by_client, by_server, True) == Agreed("X25519", "ecdsa_secp256r1_sha256", 0x0303)


def test_tls_1_3_hides_all_but_the_group():
    by_client, by_server = exchange(ssl.TLSVersion.TLSv1_3, "server", "client")
    assert read_agreement(by_client, by_server, True) == Agreed("X25519", "", 0x0304)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_part_of_it_is_no_error(version):
    by_client, by_server = exchange(version, "server", "client")
    for size in range(0, len(by_server), 3):
        read_agreement(by_client[:size], by_server[:size], True)


def test_other_bytes_agree_on_nothing():
    assert read_agreement(b"GET / HTTP/1.1\r\n", b"", True) == Agreed()
