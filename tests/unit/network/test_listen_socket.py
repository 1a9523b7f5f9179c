from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from minienvoy.errors import ConfigError
from minienvoy.network.address import Address
from minienvoy.network.listen_socket import ListenSocketSettings, bind_listen_socket, bound_address, listen
from minienvoy.network.socket_option import SocketOption, SocketState, tcp_keepalive_options


def opened(settings: ListenSocketSettings) -> socket.socket:
    raw = bind_listen_socket(settings, "listener")
    listen(raw, settings, "listener")
    return raw


def test_port_0_is_some_port_of_the_kernel() -> None:
    with opened(ListenSocketSettings(Address("127.0.0.1", 0))) as raw:
        address = bound_address(raw)
        assert address.host == "127.0.0.1"
        assert address.port > 0
        assert not raw.getblocking()
        socket.create_connection(address.sockaddr, 1).close()  # type: ignore[arg-type]


def test_bound_socket_refuses_until_it_listens() -> None:
    with (
        bind_listen_socket(ListenSocketSettings(Address("127.0.0.1", 0))) as raw,
        pytest.raises(ConnectionRefusedError),
    ):
        socket.create_connection(raw.getsockname(), 1)


def test_two_processes_may_share_a_port_unless_told_otherwise() -> None:
    with opened(ListenSocketSettings(Address("127.0.0.1", 0))) as first:
        again = ListenSocketSettings(bound_address(first))
        opened(again).close()
    with opened(ListenSocketSettings(Address("127.0.0.1", 0), reuse_port=False)) as first:
        address = bound_address(first)
        with pytest.raises(ConfigError) as error:
            bind_listen_socket(ListenSocketSettings(address, reuse_port=False), "listener")
        assert str(error.value) == f"listener: cannot bind '{address}': Address already in use"


def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot bind '203\.0\.113\.7:0': Cannot assign requested address"):
        bind_listen_socket(ListenSocketSettings(Address("203.0.113.7", 0)))


def test_freebind_takes_the_address_of_another_machine() -> None:
    bind_listen_socket(ListenSocketSettings(Address("203.0.113.7", 0), freebind=True)).close()


@pytest.mark.parametrize("compat", [False, True])
def test_ipv6_socket_takes_ipv4_only_if_told_so(compat: bool) -> None:
    with opened(ListenSocketSettings(Address("::", 0), ipv4_compat=compat)) as raw:
        port = raw.getsockname()[1]
        with socket.socket() as client:
            assert (client.connect_ex(("127.0.0.1", port)) == 0) is compat


def test_unix_socket_has_the_mode_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    settings = ListenSocketSettings(Address.pipe(str(path)), mode=0o600)
    opened(settings).close()
    with opened(settings):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigError, match="Address already in use"):
        bind_listen_socket(ListenSocketSettings(Address.pipe(str(path))))
    assert path.read_text() == "data"


def test_unix_socket_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"cannot bind '{tmp_path}/no/s': No such file or directory"):
        bind_listen_socket(ListenSocketSettings(Address.pipe(f"{tmp_path}/no/s")))


def test_abstract_unix_socket() -> None:
    with opened(ListenSocketSettings(Address.pipe("@minienvoy-test-listen-socket"))) as raw:
        assert bound_address(raw).text == "@minienvoy-test-listen-socket"


def test_options_are_set_in_their_state() -> None:
    options = (
        SocketOption(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192),
        SocketOption(socket.SOL_SOCKET, socket.SO_SNDBUF, (8192).to_bytes(4, "little"), SocketState.BOUND),
        SocketOption(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1, SocketState.LISTENING),
        *tcp_keepalive_options(3, 60, 5),
    )
    settings = ListenSocketSettings(Address("127.0.0.1", 0), options=options, fast_open_queue_length=7)
    with bind_listen_socket(settings) as raw:
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) == 0
        listen(raw, settings)
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 16384
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 16384
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 7
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5


def test_option_that_the_kernel_refuses_is_an_error_of_the_configuration() -> None:
    settings = ListenSocketSettings(Address("127.0.0.1", 0), options=(SocketOption(1, 9999, 1),))
    with pytest.raises(ConfigError, match=r"ListenSocket: Setting socket options failed.*1/9999"):
        bind_listen_socket(settings)
