"""The header that tells an upstream whose connection it has."""

from __future__ import annotations

import pytest

from minienvoy.network.address import Address
from minienvoy.network.proxy_protocol_header import (
    ProxyHeader,
    header_of,
    proxy_protocol_v1,
    proxy_protocol_v2,
    with_a_place,
)
from minienvoy.stream_info import ConnectionInfo

CLIENT, SERVER = Address.ip("127.0.0.1", 52218), Address.ip("10.0.0.2", 44083)


def test_version_1_is_a_line() -> None:
    assert proxy_protocol_v1(CLIENT, SERVER) == b"PROXY TCP4 127.0.0.1 10.0.0.2 52218 44083\r\n"
    assert proxy_protocol_v1(Address.ip("::1", 1), Address.ip("::2", 2)) == b"PROXY TCP6 ::1 ::2 1 2\r\n"


def test_version_2_is_binary() -> None:
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    assert proxy_protocol_v2(CLIENT, SERVER) == (
        signature + b"\x21\x11\x00\x0c" + bytes((127, 0, 0, 1, 10, 0, 0, 2)) + b"\xcb\xfa\xac\x33"
    )
    six = proxy_protocol_v2(Address.ip("::1", 1), Address.ip("::2", 2))
    assert six[12:16] == b"\x21\x21\x00\x24"
    assert len(six) == 16 + 36


def test_addresses_that_have_nothing_in_common_are_not_told() -> None:
    assert proxy_protocol_v1(CLIENT, Address.ip("::1", 1)) == b"PROXY UNKNOWN\r\n"
    assert proxy_protocol_v1(Address.pipe("/tmp/a"), SERVER) == b"PROXY UNKNOWN\r\n"
    assert proxy_protocol_v2(CLIENT, Address.ip("::1", 1))[12:] == b"\x20\x00\x00\x00"


def test_tlvs_follow_the_addresses():
    header = proxy_protocol_v2(Address("1.2.3.4", 1000), Address("5.6.7.8", 80), [(2, b"hello"), (0xE0, b"")])
    assert header[14:16] == (12 + 8 + 3).to_bytes(2, "big")
    assert header[28:] == b"\x02\0\x05hello\xe0\0\0"


def test_tlvs_that_a_header_has_no_place_for_are_left_out():
    large, small = (2, b"x" * 65_490), (3, b"y")
    assert with_a_place([large, large, small]) == [large, small]
    assert len(proxy_protocol_v2(Address.ip("::1", 1), Address.ip("::2", 2), [large, small])) == 16 + 36 + 65_493 + 4
    with pytest.raises(OverflowError):
        proxy_protocol_v2(CLIENT, SERVER, [large, large])


def test_what_a_client_has_told_comes_before_its_own_address():
    info = ConnectionInfo(Address("127.0.0.1", 80), Address("127.0.0.1", 1000))
    assert header_of(info) == ProxyHeader(Address("127.0.0.1", 1000), Address("127.0.0.1", 80))
    info.proxy_header = ProxyHeader(Address("1.2.3.4", 1), Address("5.6.7.8", 2), ((2, b"x"),))
    assert header_of(info) is info.proxy_header
    assert header_of(ConnectionInfo(None, None)) is None
