"""What the inspectors do with the first bytes of a socket."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from minienvoy.extensions.filters.listener.http_inspector import HttpInspector, HttpInspectorStats
from minienvoy.extensions.filters.listener.tls_inspector import TlsInspector, TlsInspectorStats
from minienvoy.network.address import Address
from minienvoy.network.filter import FilterStatus
from minienvoy.network.socket import ConnectionSocket
from minienvoy.stats.store import Store
from minienvoy.stream_info import ConnectionInfo

CONTINUE, STOP = FilterStatus.CONTINUE, FilterStatus.STOP_ITERATION


class Callbacks:
    closed = False

    def close(self) -> None:
        self.closed = True

    def continue_filter_chain(self, success: bool) -> None:
        raise AssertionError("nobody waits without wanting bytes")


def accepted() -> ConnectionSocket:
    return ConnectionSocket(None, ConnectionInfo(Address("127.0.0.1", 1), Address("127.0.0.1", 2)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "protocols"),
    [
        (b"GET / HTTP/1.1\r\n", ("http/1.1",)),
        (b"GET http://a/ HTTP/1.1\n", ("http/1.1",)),
        (b"OPTIONS * HTTP/1.1\r\n", ("http/1.1",)),
        (b"GET / HTTP/1.0\r\n", ("http/1.0",)),
        (b"GET /\r\n", ("http/1.0",)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ("h2c",)),
        (b"hello world\r\n", ()),
        (b"\x16\x03\x01", ()),
        (b"GET / b HTTP/1.1\r\n", ()),
    ],
)
def test_http_is_told_by_its_first_line(data, protocols):
    socket = accepted()
    inspector = HttpInspector(Store().scope("http_inspector").struct(HttpInspectorStats))
    assert inspector.on_accept(socket) is STOP
    assert inspector.on_data(socket, data) is CONTINUE
    assert socket.requested_application_protocols == protocols


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n"])
def test_a_line_that_may_still_be_one_is_waited_for_but_not_for_ever(data):
    stats = Store().scope("http_inspector").struct(HttpInspectorStats)
    inspector = HttpInspector(stats)
    closed = []
    inspector.callbacks = SimpleNamespace(close=lambda: closed.append(True))
    assert inspector.on_data(accepted(), data) is STOP
    assert closed == []
    assert inspector.on_data(accepted(), b"G" * inspector.max_read_bytes) is STOP
    assert closed == [True] and stats.read_error == 1


def test_http_is_not_looked_for_in_tls():
    socket = accepted()
    socket.detected_transport_protocol = "tls"
    inspector = HttpInspector(Store().scope("http_inspector").struct(HttpInspectorStats))
    assert inspector.on_accept(socket) is CONTINUE


def test_a_client_hello_that_is_too_large_is_the_end_of_the_socket():
    stats = Store().scope("tls_inspector").struct(TlsInspectorStats)
    inspector = TlsInspector(stats, 1000, False)
    inspector.callbacks = callbacks = Callbacks()
    assert inspector.on_data(accepted(), b"\x16\x03\x01\x10\0\x01\0\x10\0") is STOP
    assert callbacks.closed
    assert stats.client_hello_too_large == 1


def test_what_trickles_in_is_waited_for_until_there_is_too_much_of_it():
    stats = Store().scope("tls_inspector").struct(TlsInspectorStats)
    inspector = TlsInspector(stats, 1000, False)
    inspector.callbacks = Callbacks()
    records = b"\x16\x03\x01\0\x01\x01" + b"\x16\x03\x01\0\x01\0" * 400
    socket = accepted()
    assert inspector.on_data(socket, records[:18]) is STOP
    assert inspector.on_data(socket, records[: inspector.max_read_bytes]) is CONTINUE
    assert socket.detected_transport_protocol == ""
    assert stats.tls_not_found == 1
