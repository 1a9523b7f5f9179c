"""Datagrams: a client that sends them, and a backend that answers them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

LONG = 100
"""Bytes of a datagram that is shown in full."""


def readable(data: bytes) -> str:
    """A datagram as a golden answer has it."""
    return data.decode("latin-1") if len(data) <= LONG else f"<{len(data)} bytes>"


class DatagramTalk(asyncio.DatagramProtocol):
    """A client's socket, and what has come to it.

    Attributes:
        shown: datagrams and notes, in the order in which they came.
        count: of the datagrams alone.
    """

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.count = 0
        self.wanted = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._changed = asyncio.Event()

    async def open(self, address: tuple[str, int], source: str | None) -> None:
        """Talk to `address`, from any port of `source`. Answers may come from everywhere, as long as they come here."""
        raw = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        raw.setblocking(False)
        raw.bind((source or ("::1" if ":" in address[0] else "127.0.0.1"), 0))
        self._address = address
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=raw)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        other = "" if addr[:2] == self._address[:2] else f" from {addr[0]}"
        self.shown.append(readable(data) + other)
        self.count += 1
        self._changed.set()

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.sendto(data, self._address)

    async def expect(self, more: int, patience: float, pause_class: Callable[[float], str]) -> None:
        """Wait for so many datagrams more than have been waited for."""
        clock = asyncio.get_running_loop().time
        self.wanted += more
        begin, before = clock(), len(self.shown)
        while self.count < self.wanted:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), begin + patience - clock())
            except TimeoutError:
                self.shown.append("<nothing more came>")
                self.wanted = self.count
                return
        if (paused := pause_class(clock() - begin)) != "at once":
            self.shown.insert(before, f"<{paused}>")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class DatagramServer(asyncio.DatagramProtocol):
    """Answers each datagram by the next of its answers, the last one repeats; "echo" gives back what came.

    An answer is a text, a list of them, or None; `{sleep: seconds}` in a list waits before the rest.
    """

    def __init__(self, answers: Any, encode: Callable[[Any], bytes]) -> None:
        self._answers = answers
        self._encode = encode
        self._answered = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.sessions: dict[Any, list[str]] = {}
        """What has come, by whom it came from, in the order in which they began."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.sessions.setdefault(addr, []).append(readable(data))
        answer: Any = self._answers
        if answer == "echo":
            self._send(data, addr)
            return
        answer = answer[min(self._answered, len(answer) - 1)]
        self._answered += 1
        if answer is not None:
            work = self._perform(answer if isinstance(answer, list) else [answer], addr)
            self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _perform(self, parts: list[Any], addr: Any) -> None:
        for part in parts:
            if isinstance(part, dict) and "sleep" in part:
                await asyncio.sleep(part["sleep"])
            else:
                self._send(self._encode(part), addr)

    def _send(self, data: bytes, addr: Any) -> None:
        assert self._transport is not None
        self._transport.sendto(data, addr)

    def shown(self) -> list[list[str]]:
        return list(self.sessions.values())

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
