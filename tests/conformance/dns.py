"""A small DNS server over UDP that answers from a script.

`dns: {name: {A: [...], AAAA: [...], ttl: 1}}`; a list of such mappings answers one query of a type after the other, the
last one repeats; `rcode: 3` is NXDOMAIN (also for every name that is not listed), `silent: true` answers nothing.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

TYPES = {1: "A", 28: "AAAA", 33: "SRV"}


class DnsServer(asyncio.DatagramProtocol):
    def __init__(self, zone: dict[str, Any]) -> None:
        self.zone = {name.rstrip(".").lower(): spec for name, spec in zone.items()}
        self.questions: list[str] = []
        self.port = 0
        self._asked: dict[tuple[str, str], int] = {}
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self.port

    def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        answer = self.answer(data)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)

    def answer(self, query: bytes) -> bytes | None:
        labels, position = [], 12
        while query[position]:
            labels.append(query[position + 1 : position + 1 + query[position]].decode("latin-1"))
            position += 1 + query[position]
        question = query[12 : position + 5]
        name = ".".join(labels).lower()
        kind = TYPES.get(struct.unpack("!H", question[-4:-2])[0], "other")
        self.questions.append(f"{kind} {name}")
        spec = self.zone.get(name, {"rcode": 3})
        if isinstance(spec, list):
            turn = self._asked.get((name, kind), 0)
            self._asked[name, kind] = turn + 1
            spec = spec[min(turn, len(spec) - 1)]
        if spec.get("silent"):
            return None
        addresses = spec.get(kind, [])
        family = socket.AF_INET6 if kind == "AAAA" else socket.AF_INET
        records = b"".join(
            b"\xc0\x0c" + question[-4:-2] + struct.pack("!HIH", 1, spec.get("ttl", 60), len(packed)) + packed
            for packed in (socket.inet_pton(family, address) for address in addresses)
        )
        flags = 0x8180 | spec.get("rcode", 0)
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0) + question + records
