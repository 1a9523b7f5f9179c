"""Datagrams that come in, and where the answers leave from."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from minienvoy.config.api import message_class
from minienvoy.network.udp_listener import (
    LONGEST,
    UdpListener,
    UdpListenerCallbacks,
    UdpRecvData,
    read_datagrams,
    rx_datagram_size,
    write_datagram,
)


class Heard(UdpListenerCallbacks):
    def __init__(self) -> None:
        self.data: list[UdpRecvData] = []
        self.dropped = 0
        self.errors = 0

    def on_data(self, datagram: UdpRecvData) -> None:
        self.data.append(datagram)

    def on_datagrams_dropped(self, count: int) -> None:
        self.dropped += count

    def on_receive_error(self) -> None:
        self.errors += 1


class Datagrams:
    """The watch of a dispatcher, which a test turns."""

    def add(self, raw, callback):
        self.turn = callback

    def remove(self, raw):
        del self.turn


def listening(host: str, heard: Heard, size: int = 1500) -> tuple[socket.socket, UdpListener, Datagrams]:
    raw = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    raw.bind((host, 0))
    raw.setblocking(False)
    watch = Datagrams()
    listener = UdpListener(SimpleNamespace(datagrams=watch), raw, size, write_datagram, heard)
    listener.enable()
    return raw, listener, watch


@pytest.mark.parametrize(
    ("host", "to"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.3"), ("::", "::1"), ("::1", "::1")]
)
def test_an_answer_leaves_from_where_the_datagram_was_sent_to(host, to):
    heard = Heard()
    raw, listener, watch = listening(host, heard)
    with raw, socket.socket(raw.family, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"hello", (to, listener.local_address.port))
        watch.turn()
        (datagram,) = heard.data
        assert datagram.data == b"hello"
        assert datagram.local_host == to
        assert str(listener.address_of(to)).endswith(f":{listener.local_address.port}")
        assert listener.send(b"answer", datagram.local_host, datagram.peer)
        assert client.recvfrom(100)[:2][0] == b"answer"
        listener.send(b"", datagram.local_host, datagram.peer)
        assert client.recvfrom(100)[1][:2] == (to, listener.local_address.port)


def test_what_is_too_long_is_dropped_and_what_can_not_be_sent_is_told():
    heard = Heard()
    raw, listener, watch = listening("127.0.0.1", heard, 10)
    with raw, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        for size in (10, 11, 0):
            client.sendto(b"x" * size, raw.getsockname())
        watch.turn()
        assert [len(each.data) for each in heard.data] == [10, 0]
        assert heard.dropped == 1
        assert not listener.send(b"x" * 70000, "127.0.0.1", client.getsockname())
    assert heard.errors == 0


def test_others_have_their_turn_while_datagrams_pour_in():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        raw.bind(("127.0.0.1", 0))
        raw.setblocking(False)
        for _ in range(100):
            client.sendto(b"x", raw.getsockname())
        taken: list[bytes] = []
        assert read_datagrams(raw, 10, 0, lambda data, *_: taken.append(data)) is None
        assert len(taken) == 64
        assert read_datagrams(raw, 10, 0, lambda data, *_: taken.append(data)) is None
        assert len(taken) == 100


def test_who_closes_the_socket_is_given_no_more():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        raw.bind(("127.0.0.1", 0))
        raw.setblocking(False)
        for _ in range(2):
            client.sendto(b"x", raw.getsockname())
        taken: list[bytes] = []

        def take(data: bytes, *_: object) -> None:
            taken.append(data)
            raw.close()

        assert read_datagrams(raw, 10, 0, take) is None
        assert taken == [b"x"]


@pytest.mark.parametrize(
    ("values", "prefers_gro", "size"),
    [
        ({}, False, 1500),
        ({}, True, LONGEST),
        ({"max_rx_datagram_size": {"value": 9000}}, False, 9000),
        ({"prefer_gro": {"value": False}}, True, 1500),
        ({"prefer_gro": {"value": True}, "max_rx_datagram_size": {"value": 100}}, False, LONGEST),
    ],
)
def test_how_long_a_datagram_may_be(values, prefers_gro, size):
    assert rx_datagram_size(message_class("envoy.config.core.v3.UdpSocketConfig")(**values), prefers_gro) == size
