"""What a ClientHello says, whole and in pieces."""

from __future__ import annotations

import ssl

import pytest

from minienvoy.network.client_hello import (
    NEED_MORE,
    NOT_TLS,
    TOO_LARGE,
    ClientHello,
    ClientHelloReader,
    parse_client_hello,
)

LIMIT = 16 * 1024


def hello(name: str | None = "a.test", protocols: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def in_records(data: bytes, size: int) -> bytes:
    """The same message in records of `size` bytes."""
    message = data[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_name_and_protocols_are_found():
    found = parse_client_hello(hello(), LIMIT)
    assert isinstance(found, ClientHello)
    assert (found.server_name, found.protocols) == ("a.test", ("h2", "http/1.1"))
    assert found.size == len(hello())


def test_what_is_not_said_is_empty():
    found = parse_client_hello(hello(None, ()), LIMIT)
    assert isinstance(found, ClientHello)
    assert (found.server_name, found.protocols) == ("", ())


def test_every_beginning_needs_more():
    data = hello()
    assert {parse_client_hello(data[:size], LIMIT) for size in range(len(data))} == {NEED_MORE}


def test_bytes_behind_it_do_not_matter():
    data = hello()
    found = parse_client_hello(data + b"more", LIMIT)
    assert found == parse_client_hello(data, LIMIT)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_it_may_come_in_several_records(size):
    found = parse_client_hello(in_records(hello(), size), LIMIT)
    assert isinstance(found, ClientHello)
    assert found.server_name == "a.test"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x02\0\0\x05",
        b"\x80\x02\1\3\1",
        b"\x15\x03\x01\0\x02\x02\x46",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x40\0\x01\0\x40\x01",
    ],
)
def test_what_can_not_become_one_is_not_waited_for(data):
    assert parse_client_hello(data, LIMIT) == NOT_TLS


@pytest.mark.parametrize(
    "data",
    [
        b"GET ",
        b"\x15\x03\x01\0\x02\x02",
        b"\x16\x03\x01\0\x05\x02\0\0\x01",
        b"\x80\x40\1\3\1\0",
    ],
)
def test_a_record_is_known_when_it_is_complete(data):
    assert parse_client_hello(data, LIMIT) == NEED_MORE


def test_lengths_that_lead_out_of_the_message_make_it_none():
    data = bytearray(hello())
    at = data.index(b"\0\0\0\x0b\0\x09\0\0\x06a.test")
    data[at + 7] = 0xFF
    assert parse_client_hello(bytes(data), LIMIT) == NOT_TLS


def test_a_long_one_is_too_large_as_soon_as_its_length_is_known():
    assert parse_client_hello(b"\x16\x03\x01\x10\0\x01\0\x10\0", 1000) == TOO_LARGE


def test_an_empty_record_is_waited_behind():
    assert parse_client_hello(b"\x16\x03\x01\0\0", LIMIT) == NEED_MORE


def test_ja3_is_the_known_one_of_a_known_shape():
    shape = ClientHello("", (), 0, 769, (47, 53, 0x0A0A), (0x1A1A, 0, 10), (29, 23), b"\0")
    assert shape.ja3() == "769,47-53,0-10,29-23,0"


def test_ja4_is_the_known_one_of_a_known_shape():
    """The example of its specification: a browser's ClientHello."""
    ciphers = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x9C, 0x9D)
    extensions = (0x1B, 0, 0x33, 0x10, 0x4469, 0x17, 0x2D, 0xD, 5, 0x23, 0x12, 0x2B, 0xFF01, 0xB, 0xA, 0x15)
    signatures = (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)
    shape = ClientHello(
        "a.test",
        ("h2", "http/1.1"),
        0,
        0x0303,
        (0x0A0A, *ciphers, 0x2F, 0x35),
        (0x1A1A, *extensions),
        (29,),
        b"\0",
        signatures,
        (0x2A2A, 0x0304, 0x0303),
    )
    assert shape.ja4() == "t13d1516h2_8daaf6152771_e5627efa2ab1"


def test_ja4_of_what_has_nothing_in_it():
    assert ClientHello("", (), 0, 0x0301, (), (), (), b"").ja4() == "t10i000000_000000000000_000000000000"


@pytest.mark.parametrize("size", [1, 3, 60, 5000])
@pytest.mark.parametrize("step", [1, 7, 100])
def test_what_comes_in_pieces_is_read_as_in_one(size, step):
    data = in_records(hello(), size)
    reader = ClientHelloReader(LIMIT)
    found = NEED_MORE
    for end in range(step, len(data) + step, step):
        found = reader.read(bytearray(data[:end]))
        if found != NEED_MORE:
            break
    assert found == parse_client_hello(data[:end], LIMIT)
    assert isinstance(found, ClientHello) and found.server_name == "a.test"


def test_a_record_that_was_read_is_not_read_again():
    data = in_records(hello(), 1)
    reader = ClientHelloReader(LIMIT)
    assert reader.read(data[:600]) == NEED_MORE
    assert isinstance(reader.read(b"\0" * 600 + data[600:]), ClientHello)
