"""Sockets of datagrams, watched."""

from __future__ import annotations

import socket

from minienvoy.event.socket_watch import SocketWatch


class Loop:
    """Knows who wants to read, and lets them."""

    def __init__(self) -> None:
        self.readers = {}

    def add_reader(self, what, callback):
        self.readers[what] = callback

    def remove_reader(self, what):
        del self.readers[what]

    def turn(self):
        for callback in tuple(self.readers.values()):
            callback()


def bound() -> socket.socket:
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    raw.bind(("127.0.0.1", 0))
    raw.setblocking(False)
    return raw


def test_who_watches_a_socket_hears_of_what_comes_and_goes_on_after_an_error():
    loop, heard = Loop(), []
    watch = SocketWatch(loop)
    with bound() as peer, bound() as mine:
        mine.connect(peer.getsockname())
        watch.add(mine, lambda: heard.append(mine.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or mine.recv(10)))
        loop.turn()
        assert heard == []
        gone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        gone.bind(("127.0.0.1", 0))
        nowhere = gone.getsockname()
        gone.close()
        peer.sendto(b"one", mine.getsockname())
        loop.turn()
        assert heard == [b"one"]
        mine.connect(nowhere)
        mine.send(b"?")
        loop.turn()
        assert heard[1:] == [111]
        mine.connect(peer.getsockname())
        peer.sendto(b"two", mine.getsockname())
        loop.turn()
        assert heard[2:] == [b"two"]
        watch.remove(mine)
    assert not loop.readers


def test_who_is_removed_by_another_callback_is_not_called():
    loop, heard = Loop(), []
    watch = SocketWatch(loop)
    with bound() as one, bound() as two, bound() as peer:

        def on(name: str, other: socket.socket) -> None:
            heard.append(name)
            watch.remove(other)

        watch.add(one, lambda: on("one", two))
        watch.add(two, lambda: on("two", one))
        for each in (one, two):
            peer.sendto(b"x", each.getsockname())
        loop.turn()
        assert len(heard) == 1
        watch.remove(one if heard == ["one"] else two)
    assert not loop.readers
