"""A DNS server on loopback that a test tells what to answer, over UDP and TCP.

Envoy: `TestDnsServer` (`test/extensions/network/dns_resolver/cares/dns_impl_test.cc`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

A, AAAA = 1, 28
NXDOMAIN, SERVFAIL = 3, 2


@dataclass
class Record:
    """What is known of a name. `silent` never answers; an `rcode` may differ for A and AAAA."""

    v4: tuple[str, ...] = ()
    v6: tuple[str, ...] = ()
    ttl: int = 60
    rcode: int = 0
    rcode_of: dict[int, int] = field(default_factory=dict)
    silent: bool = False


class FakeDns(asyncio.DatagramProtocol):
    """`async with FakeDns() as server`: then `server.zone[name] = Record(...)`; names without one do not exist."""

    def __init__(self) -> None:
        self.zone: dict[str, Record] = {}
        self.questions: list[tuple[str, int]] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def __aenter__(self) -> FakeDns:
        loop = asyncio.get_running_loop()
        while self._tcp is None:
            transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
            self.port = transport.get_extra_info("sockname")[1]
            try:
                self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", self.port)
            except OSError:
                transport.close()  # somebody has that port for TCP: take another
            else:
                self._transport = transport
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        assert self._tcp is not None
        self._transport.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = self._answer(data)
        if answer:
            assert self._transport is not None
            self._transport.sendto(answer, addr)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while size := await reader.readexactly(2):
                answer = self._answer(await reader.readexactly(struct.unpack(">H", size)[0]))
                if answer:
                    writer.write(struct.pack(">H", len(answer)) + answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def _answer(self, data: bytes) -> bytes | None:
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        question = data[12 : at + 5]
        name, kind = ".".join(labels).lower(), struct.unpack(">H", data[at + 1 : at + 3])[0]
        self.questions.append((name, kind))
        record = self.zone.get(name, Record(rcode=NXDOMAIN))
        if record.silent:
            return None
        rcode = record.rcode_of.get(kind, record.rcode)
        hosts = {A: record.v4, AAAA: record.v6}.get(kind, ()) if not rcode else ()
        family = socket.AF_INET if kind == A else socket.AF_INET6
        body = b""
        for host in hosts:
            packed = socket.inet_pton(family, host)
            body += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, record.ttl, len(packed)) + packed
        return data[:2] + struct.pack(">HHHHH", 0x8180 | rcode, 1, len(hosts), 0, 0) + question + body
