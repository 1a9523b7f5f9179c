"""Upstreams that do exactly as they are told, and write down what they were sent.

A backend is one of:

* `answers: [...]` - HTTP: each complete request is answered with the next element (the last one repeats). An element is
  a message text (see `message_bytes`) or a list of actions.
* `script: [...]` - TCP: the actions are carried out on every connection; `scripts: [[...], ...]` has one list per
  connection, the last one repeats.
* `udp: true` - datagrams, which nobody answers. What statistics these are is compared (metrics.py); so is it for a
  stream with `metrics: statsd`, for gRPC with
  `metrics: service`, and so are logs of OpenTelemetry with `metrics: logs`, and those of Envoy's own protocol with
  `metrics: als` (access_log_stream.py), and what SkyWalking is told with `metrics: segments` (segments.py).
* `datagrams: echo`, or `datagrams: [answers]` - datagrams that are answered, see `datagrams.DatagramServer`.
* `down: refused` - nothing listens; `down: silent` - the connection is never established.

`tls: {...}` beside it: it speaks TLS, see tls.py. `any_order: true`: the lines of what it was sent are shown sorted,
because Envoy takes them from a hash table.

With `h2: true` (or `h2: {...}`, see `http2.Session`) a backend speaks HTTP/2. Then an answer is a list of frames (see
`http2.py`; they are on the stream that asked) and actions (`sleep`, `close`, `reset`, `never`, `expect: n`: n requests
more that are complete, `messages: n`: n messages of gRPC have come on the stream), by default
`{headers: "200 | content-length: 2"}, {data: ok, end: true}`; requests are answered at the same time, each when it is
complete, or with `answer: headers` as soon as its headers are there. `script` is what
is done on a connection whatever is asked: frames there say which stream they are on.

With `control_plane: [...]` it speaks gRPC, as control_plane.py says; with `discovery: true` an answer may be a response
in JSON, written as there (`{CDS: version, of: [...]}`).

Actions: `send: text`, `sleep: seconds`, `read: n`, `read_until: text`, `read_eof: true`, `echo: true` (until the peer
has finished), `half_close: true`, `close: true`, `reset: true`, `never: true` (keep the connection, answer nothing),
`beneath: text`, `renegotiate: true` and `key_update: n` as a client's (tls.py).
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from . import codings, http2, messages, tls
from .control_plane import Control, ControlPlane, json_answer
from .datagrams import DatagramServer
from .wire import Wire

DEFAULT_ANSWERS = ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]
DEFAULT_FRAMES = [{"headers": "200 | content-length: 2"}, {"data": "ok", "end": True}]
ACTIONS = ("sleep", "close", "reset", "expect", "half_close", "never", "messages")
PATIENCE = 20.0
CONTROL_PLANE_PATIENCE = 600.0


def message_bytes(value: Any) -> bytes:
    """The bytes a scenario means.

    A text without any carriage return is a message written for people: its lines end in CRLF, and if it has no empty
    line one is added. A text with a carriage return is sent as it stands. A list is joined; `{repeat: [text, n]}` in it
    stands for n times the text.
    """
    if isinstance(value, (list, dict)):
        return b"".join(_piece(part) for part in (value if isinstance(value, list) else [value]))
    content = str(value)
    if "\r" in content or "\n" not in content:
        return _raw(content)
    head, blank, body = content.partition("\n\n")
    return _raw(head.rstrip("\n").replace("\n", "\r\n") + "\r\n\r\n" + (body.removesuffix("\n") if blank else ""))


def _piece(part: Any) -> bytes:
    if not isinstance(part, dict):
        return _raw(part)
    if "repeat" in part:
        return _raw(part["repeat"][0] * part["repeat"][1])
    return codings.piece(part, lambda text: b"".join(map(_piece, text if isinstance(text, list) else [text])))


def _raw(content: str) -> bytes:
    return content.encode("latin-1")


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, found: list[bytes]) -> None:
        self._found = found

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._found.append(data)


class Backend:
    """A scripted server on a loopback port of its own."""

    def __init__(self, name: str, spec: dict[str, Any]) -> None:
        self.name = name
        self.spec = spec
        self.port = 0
        self.host = spec.get("host", "127.0.0.1")
        self.wires: list[Wire] = []
        self.datagrams: list[bytes] = []
        self.datagram_server: DatagramServer | None = None
        self._datagram_transport: asyncio.DatagramTransport | None = None
        self.sessions: dict[Wire, http2.Session] = {}
        self.control = Control(spec.get("control_plane") or [])
        self.planes: dict[Wire, ControlPlane] = {}
        self._answered = 0
        self._server: asyncio.Server | None = None
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        if self.spec.get("udp"):
            self._datagram_transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Datagrams(self.datagrams), (self.host, 0)
            )
            self.port = self._datagram_transport.get_extra_info("sockname")[1]
            return
        if "datagrams" in self.spec:
            server = self.datagram_server = DatagramServer(self.spec["datagrams"], message_bytes)
            self._datagram_transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: server, (self.host, 0)
            )
            self.port = self._datagram_transport.get_extra_info("sockname")[1]
            return
        down = self.spec.get("down")
        # asyncio turns Nagle's algorithm off only where the protocol is given: an answer in two writes must not wait.
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        raw = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        raw.bind((self.host, 0))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = raw.getsockname()[1]
        if down == "refused":
            self._sockets.append(raw)  # bound and not listening: the port stays ours and refuses
            return
        if down == "silent":
            raw.listen(0)  # a full accept queue drops further SYNs
            self._sockets.append(raw)
            for _ in range(2):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((self.host, self.port))
                self._sockets.append(filler)
            return
        loop = asyncio.get_running_loop()
        context = tls.server_context(self.spec["tls"] or {}) if "tls" in self.spec else None
        self._server = await loop.create_server(lambda: Wire(self._connected), sock=raw, ssl=context)

    async def stop(self) -> None:
        if self._datagram_transport is not None:
            self._datagram_transport.close()
        if self.datagram_server is not None:
            await self.datagram_server.stop()
        tasks = [*self._tasks, *self.control.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for wire in self.wires:
            wire.abandon()
        await asyncio.sleep(0)  # a transport is closed by the loop, in its next turn
        if self._server is not None:
            self._server.close()
        for raw in self._sockets:
            raw.close()

    @property
    def requests(self) -> int:
        """How many complete requests have arrived on all connections."""
        if self.sessions:
            return sum(len(session.reader.opened) for session in self.sessions.values())
        return sum(len(messages.Reader().complete(wire.received, wire.ended is not None)) for wire in self.wires)

    def _connected(self, wire: Wire) -> None:
        number = len(self.wires)
        self.wires.append(wire)
        if self.spec.get("h2") or "control_plane" in self.spec:
            session = self.sessions[wire] = http2.Session(self.spec.get("h2"), client=False)
            if "control_plane" in self.spec:
                self.planes[wire] = ControlPlane(self, wire, session)
            wire.on_bytes = lambda: self._on_frames(wire, session)
            wire.send(session.hello())
        self._tasks.append(asyncio.get_running_loop().create_task(self._serve(wire, number)))

    async def _serve(self, wire: Wire, number: int) -> None:
        if wire in self.sessions:
            await self._serve_http2(wire, self.sessions[wire], number)
        elif "scripts" in self.spec:
            scripts = self.spec["scripts"]
            await self._perform(wire, scripts[min(number, len(scripts) - 1)])
        elif "script" in self.spec:
            await self._perform(wire, self.spec["script"])
        else:
            await self._answer(wire)

    def _on_frames(self, wire: Wire, session: http2.Session) -> None:
        if back := session.answer(wire.received):
            wire.send(back)
        if wire in self.planes:
            self.planes[wire].on_frames()

    async def _serve_http2(self, wire: Wire, session: http2.Session, number: int) -> None:
        if "control_plane" in self.spec:
            await wire.until(lambda: wire.ended is not None, CONTROL_PLANE_PATIENCE)
            return
        if "script" in self.spec or "scripts" in self.spec:
            scripts = self.spec.get("scripts") or [self.spec["script"]]
            await self._perform_http2(wire, session, scripts[min(number, len(scripts) - 1)], 0)
            await wire.until(lambda: wire.ended is not None, PATIENCE)
            return
        answered: set[int] = set()
        answers = self.spec.get("answers", [DEFAULT_FRAMES])

        def asking() -> list[int]:
            reader = session.reader
            ready = reader.opened if self.spec.get("answer") == "headers" else [
                each for each in reader.opened if each in reader.ended
            ]  # fmt: skip
            return [each for each in ready if each not in answered]

        while True:
            await wire.until(lambda: bool(asking()) or wire.ended is not None, PATIENCE)
            if not (ready := asking()):
                if wire.ended is not None:
                    wire.close()
                return
            for stream in ready:
                answered.add(stream)
                answer = answers[min(self._answered, len(answers) - 1)]
                self._answered += 1
                if any(isinstance(each, dict) and not each.keys().isdisjoint(ACTIONS) for each in answer):
                    work = self._perform_http2(wire, session, answer, stream)
                    self._tasks.append(asyncio.get_running_loop().create_task(work))
                else:
                    wire.send(session.writer.encode(answer, stream))

    async def _perform_http2(self, wire: Wire, session: http2.Session, actions: list[Any], stream: int) -> None:
        together: list[Any] = []
        for action in [*actions, None]:
            if action is not None and not (isinstance(action, dict) and not action.keys().isdisjoint(ACTIONS)):
                together.append(action)
                continue
            if together:
                wire.send(session.writer.encode(together, stream))
                together = []
            if action is not None:
                ((verb, value),) = action.items()
                if verb == "messages":
                    await wire.until(
                        lambda wanted=value: session.messages_on(stream) >= wanted or wire.ended is not None, PATIENCE
                    )
                else:
                    await getattr(self, f"_do_{verb}")(wire, value)

    async def _do_expect(self, wire: Wire, value: int) -> None:
        reader = self.sessions[wire].reader
        wanted = len(reader.ended) + value
        await wire.until(lambda: len(reader.ended) >= wanted or wire.ended is not None, PATIENCE)

    async def _answer(self, wire: Wire) -> None:
        answers = self.spec.get("answers", DEFAULT_ANSWERS)
        reader = messages.Reader()
        done = 0
        while True:
            done += 1

            def asked(wanted: int = done) -> bool:
                return len(reader.complete(wire.received, wire.ended is not None)) >= wanted

            if not await wire.until(lambda: asked() or wire.ended is not None, PATIENCE):
                return
            if not asked():
                wire.close()
                return
            answer = answers[min(self._answered, len(answers) - 1)]
            if self.spec.get("discovery"):
                answer = json_answer(answer, self.control)
            self._answered += 1
            if isinstance(answer, list) and all(isinstance(a, dict) and "repeat" not in a for a in answer):
                await self._perform(wire, answer)
            else:
                wire.send(message_bytes(answer))

    async def _perform(self, wire: Wire, actions: list[dict[str, Any]]) -> None:
        for action in actions:
            ((verb, value),) = action.items()
            await getattr(self, f"_do_{verb}")(wire, value)
        if "answers" not in self.spec:
            await wire.until(lambda: wire.ended is not None, PATIENCE)
            if not wire.we_ended:
                wire.close()

    async def _do_send(self, wire: Wire, value: Any) -> None:
        wire.send(message_bytes(value))

    async def _do_beneath(self, wire: Wire, value: Any) -> None:
        tls.beneath(wire.transport, message_bytes(value))

    async def _do_renegotiate(self, wire: Wire, value: Any) -> None:
        tls.renegotiate(wire.transport)

    async def _do_key_update(self, wire: Wire, value: int) -> None:
        tls.key_updates(wire.transport, value)

    async def _do_sleep(self, wire: Wire, value: float) -> None:
        await asyncio.sleep(value)

    async def _do_read(self, wire: Wire, value: int) -> None:
        wire.read_position += value
        await wire.until(lambda: len(wire.received) >= wire.read_position or wire.ended is not None, PATIENCE)

    async def _do_read_until(self, wire: Wire, value: str) -> None:
        needle = _raw(value)
        start = wire.read_position
        await wire.until(lambda: wire.received.find(needle, start) >= 0 or wire.ended is not None, PATIENCE)
        wire.read_position = max(start, wire.received.find(needle, start) + len(needle))

    async def _do_read_eof(self, wire: Wire, value: bool) -> None:
        await wire.until(lambda: wire.ended is not None, PATIENCE)

    async def _do_echo(self, wire: Wire, value: bool) -> None:
        while True:
            await wire.until(lambda: len(wire.received) > wire.read_position or wire.ended is not None, PATIENCE)
            fresh = bytes(wire.received[wire.read_position :])
            wire.read_position += len(fresh)
            if fresh:
                wire.send(fresh)
            elif wire.ended is not None:
                return

    async def _do_half_close(self, wire: Wire, value: bool) -> None:
        wire.half_close()

    async def _do_close(self, wire: Wire, value: bool) -> None:
        wire.close()

    async def _do_reset(self, wire: Wire, value: bool) -> None:
        wire.reset()

    async def _do_never(self, wire: Wire, value: bool) -> None:
        await wire.until(lambda: wire.ended is not None, PATIENCE)
