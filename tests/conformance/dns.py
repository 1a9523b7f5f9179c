"""A small DNS server over UDP and TCP that answers from a script.

`dns: {name: {A: [...], AAAA: [...], ttl: 1}}`; a list of such mappings answers one query of a type after the other, the
last one repeats; `rcode: 3` is NXDOMAIN (also for every name that is not listed), `silent: true` answers nothing,
`delay: seconds` answers later. An address may be `[address, ttl]`; `CNAME: name` (or `[name, ttl]`) puts an alias
before the records of that name; `truncated: true` answers over UDP that the answer is too long for it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

TYPES = {1: "A", 28: "AAAA", 33: "SRV"}
CNAME = 5
TRUNCATED = 0x0200


class DnsServer(asyncio.DatagramProtocol):
    def __init__(self, zone: dict[str, Any]) -> None:
        self.zone = {name.rstrip(".").lower(): spec for name, spec in zone.items()}
        self.questions: list[str] = []
        self.port = 0
        self._asked: dict[tuple[str, str], int] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Stream(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        return self.port

    def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        def send(answer: bytes) -> None:
            if self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(answer, addr)

        self.ask(data, send)

    def ask(self, query: bytes, send: Callable[[bytes], None], tcp: bool = False) -> None:
        """Call `send` with the answer, now or later; not at all if there is to be none."""
        answer, delay = self._answer(query, tcp)
        if answer is None:
            return
        if delay:
            asyncio.get_running_loop().call_later(delay, send, answer)
        else:
            send(answer)

    def _answer(self, query: bytes, tcp: bool) -> tuple[bytes | None, float]:
        labels, position = [], 12
        while query[position]:
            labels.append(query[position + 1 : position + 1 + query[position]].decode("latin-1"))
            position += 1 + query[position]
        question = query[12 : position + 5]
        name = ".".join(labels).lower()
        number = struct.unpack("!H", question[-4:-2])[0]
        kind = TYPES.get(number, "other")
        self.questions.append(f"{kind} {name}" + " over TCP" * tcp)
        spec = self._spec(name, kind)
        if spec.get("silent"):
            return None, 0.0
        delay = float(spec.get("delay", 0.0))
        if spec.get("truncated") and not tcp:
            return query[:2] + struct.pack("!HHHHH", 0x8180 | TRUNCATED, 1, 0, 0, 0) + question, delay
        records = []
        owner = b"\xc0\x0c"
        while "CNAME" in spec:
            alias, ttl = _with_ttl(spec["CNAME"], spec)
            target = _labels(alias)
            records.append(owner + struct.pack("!HHIH", CNAME, 1, ttl, len(target)) + target)
            owner, spec = target, self._spec(alias, kind)
        family = socket.AF_INET6 if kind == "AAAA" else socket.AF_INET
        for each in spec.get(kind, []):
            address, ttl = _with_ttl(each, spec)
            packed = socket.inet_pton(family, address)
            records.append(owner + struct.pack("!HHIH", number, 1, ttl, len(packed)) + packed)
        head = struct.pack("!HHHHH", 0x8180 | spec.get("rcode", 0), 1, len(records), 0, 0)
        return query[:2] + head + question + b"".join(records), delay

    def _spec(self, name: str, kind: str) -> dict[str, Any]:
        """What is said of `name` this time."""
        spec = self.zone.get(name.rstrip(".").lower(), {"rcode": 3})
        if isinstance(spec, list):
            turn = self._asked.get((name, kind), 0)
            self._asked[name, kind] = turn + 1
            spec = spec[min(turn, len(spec) - 1)]
        return spec  # type: ignore[no-any-return]


class _Stream(asyncio.Protocol):
    """One connection: each message has its length before it."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 2 and len(self._received) - 2 >= (length := int.from_bytes(self._received[:2])):
            query, self._received = self._received[2 : 2 + length], self._received[2 + length :]
            self._server.ask(query, self._send, tcp=True)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(len(answer).to_bytes(2) + answer)


def _with_ttl(record: Any, spec: dict[str, Any]) -> tuple[str, int]:
    """A record's value and TTL, which is that of all of them unless it says another one."""
    value, ttl = record if isinstance(record, list) else (record, spec.get("ttl", 60))
    return str(value), int(ttl)


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.rstrip(".").split(".")) + b"\0"
