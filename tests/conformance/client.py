"""The client of a case: it carries out the steps and tells what it saw, in the words of a golden answer.

Steps (a mapping of verbs; `on: name` beside them picks one of several connections, `to: name` and `from: address` say
where a new connection goes and comes from, `tls: {...}` that it speaks TLS, see tls.py):

* `request: text` - send a message (`message_bytes`) and read one response; `send: text` - only send; `send` may be a
  list with `{repeat: [text, n]}` and `{pause: seconds}` in it.
* `get: /path` - short for a GET with `host: a.test`.
* `expect: response | eof | n | {count: n} | {for: seconds}` - read; n is a number of bytes.
* `datagram: text` - send a datagram, and each of a list of them; `datagrams: n` or `datagrams: {count: n, within:
  seconds}` - wait for n more of them. `on: name` has a socket of its own.
* `half_close`, `close`, `reset`, `connect`, `pause`, `resume` - what they say; `sleep: seconds`.
* `beneath: text` - send bytes under the TLS session; `renegotiate: true` and `key_update: n` - see tls.py.
* `ask: "GET /path"` - the same at the admin interface (with `to: admin`) and `connection: close`.
* `swap: {link: target}` - a symbolic link in the directory leads elsewhere, from one moment to the next.
* `admin: "POST /path"` - ask the admin interface; the answer is not recorded.
* `signal: name` - lets scripts of control planes go on (control_plane.py); `settled: backend` - waits until its scripts
  have come to their end, and a moment longer.
* `hosts: regex` and `counters: regex` - note the case's own lines of `/clusters` or `/stats` that match (`seen`).

In a case with `h2: true` (or `h2: {...}`, see `http2.Session`) every connection but those to the admin interface speaks
HTTP/2 (`h1: true` in the step that opens one: not this one): `send` and `request` take frames (`http2.py`), `request`
and `expect: response` wait until the peer has ended or reset all streams that were opened; `expect: goaway` for a
GOAWAY more than before, `expect: {frames: n}` for n frames more of those that are shown.

After the last step every connection is watched: did the proxy close it, and when?
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from math import floor
from pathlib import Path
from typing import Any

from . import http2, messages, tls
from .backends import message_bytes
from .control_plane import Control
from .datagrams import DatagramTalk
from .wire import Wire

PATIENCE = 8.0
WATCH = 1.7
"""How long a connection is watched for its end, in seconds: longer than Envoy's delayed close (1 s)."""


SETTLING = 0.25
"""Seconds that a configuration may take to reach every thread of a proxy."""

AT_ONCE = 0.17
SEEN_OPEN = 0.2
"""How long a connection that Envoy keeps open is watched where time is not judged."""


def pause_class(seconds: float) -> str:
    """A duration as a golden answer has it: at once, or in tenths of a second.

    Envoy is late by some milliseconds when its answer is recorded, and never early; minienvoy is judged in virtual time
    and is late by the 10 ms of its timers at most.
    """
    return "at once" if seconds < AT_ONCE else f"after {floor((seconds + 0.02) * 10 + 1e-6) / 10:.1f} s"


class Talk:
    """One client connection and what became of it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.methods: list[str] = []
        self.reader = messages.Reader(self.methods)
        self.notes: list[tuple[int, str]] = []
        self.shown = 0
        self.end_noted = False

    def sent(self, data: bytes) -> None:
        for match in re.finditer(rb"(?m)^([A-Z]+) \S+ HTTP/1\.\d\r?$", data):
            self.methods.append(match[1].decode())

    def asked(self) -> Iterator[str]:
        return iter(self.methods)

    def responses(self) -> list[messages.Message]:
        found = self.reader.complete(self.wire.received, self.wire.ended is not None)
        return [m for m in found if m.status // 100 != 1 or m.status == 101]

    def note(self, what: str) -> None:
        self.notes.append((len(self.wire.received), what))

    def transcript(self, raw: bool, show: Callable[[messages.Message], list[str]]) -> list[Any]:
        """Messages and notes in the order in which they happened."""
        data = bytes(self.wire.received)
        shown: list[Any] = []
        if raw:
            shown.extend([messages.lines(data)] if data else [])
            return shown + [note for _, note in self.notes]
        found, rest = messages.split(data, self.wire.ended is not None, self.asked())
        position, notes = 0, list(self.notes)
        for message in found:
            while notes and notes[0][0] <= position:
                shown.append(notes.pop(0)[1])
            shown.append(show(message))
            position += message.size
        if rest:
            shown.append(messages.lines(rest))
        return shown + [note for _, note in notes]


class Http2Talk(Talk):
    """The same, of a connection that speaks HTTP/2."""

    def __init__(self, wire: Wire, options: Any) -> None:
        super().__init__(wire)
        self.session = http2.Session(options, client=True)
        self.frames_seen = 0
        wire.on_bytes = self._on_bytes
        self.hello = self.session.hello()
        """Leaves with what is sent first: it must not be chance whether a proxy reads it alone."""

    def send(self, data: bytes) -> None:
        data, self.hello = self.hello + data, b""
        if data:
            self.wire.send(data)

    def _on_bytes(self) -> None:
        last = self.wire.last
        if back := self.session.answer(self.wire.received):
            self.wire.send(back)
            self.wire.last = last  # what a peer does by itself is no step of the case

    def goaways(self) -> int:
        return sum(frame.kind == http2.GOAWAY for frame in self.session.reader.frames)

    def transcript(self, raw: bool, show: Callable[[messages.Message], list[str]]) -> list[Any]:
        shown: list[Any] = []
        notes = list(self.notes)
        for position, lines in self.session.shown():
            while notes and notes[0][0] < position:
                shown.append(notes.pop(0)[1])
            shown.append(lines)
        if rest := bytes(self.wire.received[self.session.reader.position :]):
            shown.append(messages.lines(rest))
        return shown + [note for _, note in notes]


class Client:
    """Runs the steps of one case against the listeners of one proxy."""

    def __init__(
        self,
        ports: dict[str, tuple[str, int]],
        admin: Callable[[str, str], Awaitable[tuple[int, str]]] | None = None,
        watch: float = WATCH,
        raw: bool = False,
        show: Callable[[messages.Message], list[str]] = messages.readable,
        ends: dict[str, str] | None = None,
        prefix: str = "",
        directory: Path | None = None,
        h2: Any = None,
        controls: dict[str, Control] | None = None,
        find_ports: Callable[[], Awaitable[dict[str, tuple[str, int]]]] | None = None,
    ) -> None:
        """`ends` says how each connection is expected to end, where time is not judged: an end is waited for as long as
        it takes, and a connection that should be kept open is not watched for long."""
        self.ports = ports
        self.find_ports = find_ports
        self.controls = controls or {}
        self.directory = directory
        self.h2 = h2
        self.ends = ends
        self.show = show
        self.admin = admin
        self.watch = watch
        self.raw = raw
        self.talks: dict[str, Talk] = {}
        self.datagram_talks: dict[str, DatagramTalk] = {}
        self.prefix = prefix
        self.seen: list[str] = []

    async def run(self, steps: list[dict[str, Any]]) -> dict[str, list[Any]]:
        try:
            for step in steps:
                await self._step(step)
            await asyncio.gather(*(self._observe(*each) for each in self.talks.items()))
            shown = {name: talk.transcript(self.raw, self.show) for name, talk in self.talks.items()}
            return shown | {name: list(talk.shown) for name, talk in self.datagram_talks.items()}
        finally:
            for datagram_talk in self.datagram_talks.values():
                datagram_talk.close()
            for talk in self.talks.values():
                talk.wire.close()
                if isinstance(talk, Http2Talk):
                    talk.wire.abandon()  # a flood that nobody has read would keep its transport for ever
            await asyncio.sleep(0)  # a transport is closed by the loop, in its next turn

    async def run_parallel(self, groups: dict[str, list[dict[str, Any]]]) -> dict[str, list[Any]]:
        """Each name is a connection with its own steps; all run at the same time."""

        async def one(name: str, steps: list[dict[str, Any]]) -> None:
            for step in steps:
                await self._step({"on": name, **step})

        await asyncio.gather(*(one(name, steps) for name, steps in groups.items()))
        return await self.run([])

    async def run_table(self, rows: list[str], shows: tuple[str, ...] = ()) -> dict[str, list[Any]]:
        """One request per row, each on a connection of its own; the answers as one line each, with the headers whose
        names begin with one of `shows`.

        A row is `METHOD target | header: value | ...`; the method may be left out, and `host: a.test` is added unless
        the row has a host.
        """
        shown = []
        for number, row in enumerate(rows):
            start, *headers = (part.strip(" ") for part in str(row).split(" | "))
            method, _, target = start.rpartition(" ")
            if not any(line.lower().startswith("host:") for line in headers):
                headers.insert(0, "host: a.test")
            name = f"row {number}"
            request = "\r\n".join([f"{method or 'GET'} {target} HTTP/1.1", *headers, "", ""])
            await self._step({"on": name, "request": request})
            talk = self.talks.pop(name)
            found, _ = messages.split(bytes(talk.wire.received), talk.wire.ended is not None, talk.asked())
            answers = " ".join(messages.brief(each, shows) for each in found)
            shown.append(f"{row} => {answers or talk.wire.ended or 'nothing'}")
            talk.wire.close()
        return {"client": shown}

    async def run_spread(self, requests: list[Any], connections: int) -> dict[str, list[Any]]:
        """The requests one after the other, taking turns on the connections; how often each status was answered."""
        answers: Counter[str] = Counter()
        for number, request in enumerate(requests):
            name = f"connection {number % connections}"
            await self._step({"on": name, "request": request})
            talk = self.talks[name]
            found = talk.responses()
            if talk.shown > len(found):
                answers[talk.wire.ended or "no answer"] += 1
            else:
                answers[str(found[-1].status)] += 1
            if talk.wire.ended is not None:
                self.talks.pop(name).wire.close()
        await self.run([])
        return {"client": [f"{count} times {what}" for what, count in sorted(answers.items())]}

    async def _talk(self, step: dict[str, Any]) -> Talk:
        name = step.get("on", "client")
        if name not in self.talks:
            if step.get("to", "main") not in self.ports and self.find_ports is not None:
                self.ports = await self.find_ports()
            host, port = self.ports[step.get("to", "main")]
            loop = asyncio.get_running_loop()
            source = (step["from"], 0) if "from" in step else None
            unix = host.startswith("/")
            raw = socket.socket(socket.AF_UNIX if unix else socket.AF_INET6 if ":" in host else socket.AF_INET)
            raw.setblocking(False)
            if not unix:
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                if source:
                    raw.bind(source)
                await asyncio.wait_for(loop.sock_connect(raw, host if unix else (host, port)), PATIENCE)
            except BaseException:
                raw.close()
                raise
            plain = not self.h2 or step.get("h1") or step.get("to") == "admin"
            if "tls" not in step:
                _, wire = await loop.create_connection(Wire, sock=raw)
                self.talks[name] = Talk(wire) if plain else Http2Talk(wire, self.h2)
                return self.talks[name]
            settings = step["tls"] or {}
            try:
                await loop.sock_sendall(raw, settings.get("preface", "").encode("latin-1"))
                earlier = settings.get("resume")
                context = tls.resuming_context(self.talks[earlier]) if earlier else tls.client_context(settings)
                _, wire = await loop.create_connection(
                    Wire, sock=raw, ssl=context, server_hostname=settings.get("sni", ""), ssl_handshake_timeout=PATIENCE
                )
            except (OSError, TimeoutError) as problem:
                wire = Wire()
                wire.ended = f"no handshake: {getattr(problem, 'reason', None) or type(problem).__name__}"
                wire.ended_at = wire.last
                self.talks[name] = Talk(wire)
            else:
                self.talks[name] = Talk(wire) if plain else Http2Talk(wire, self.h2)
                assert wire.transport is not None
                self.talks[name].note(tls.agreed(wire.transport.get_extra_info("ssl_object")))
        return self.talks[name]

    async def _step(self, step: dict[str, Any]) -> None:
        verbs = [key for key in step if key not in ("on", "to", "from", "h1", "tls")]
        if verbs == ["sleep"]:
            await asyncio.sleep(step["sleep"])
            return
        if verbs == ["signal"]:
            for control in self.controls.values():
                control.signal(step["signal"]).set()
            return
        if verbs == ["settled"]:
            await self.controls[step["settled"]].settled()
            await asyncio.sleep(SETTLING)
            return
        if verbs == ["admin"]:
            assert self.admin is not None
            await self.admin(*step["admin"].split(" ", 1))
            return
        if verbs in (["hosts"], ["counters"]):
            await self._look(verbs[0], step[verbs[0]])
            return
        if verbs == ["swap"]:
            for name, target in step["swap"].items():
                self._swap(name, target)
            return
        if verbs in (["datagram"], ["datagrams"]):
            await self._datagrams(step)
            return
        talk = await self._talk(step)
        if talk.wire.transport is None:
            return  # there was no handshake
        for verb in verbs:
            action = getattr(self, f"_do_{verb}", None)
            if action is None:
                raise ValueError(f"{verb!r} is not a step; see the list at the top of client.py")
            await action(talk, step[verb])

    async def _datagrams(self, step: dict[str, Any]) -> None:
        name = step.get("on", "client")
        if name not in self.datagram_talks:
            self.datagram_talks[name] = DatagramTalk()
            await self.datagram_talks[name].open(self.ports[step.get("to", "main")], step.get("from"))
        talk = self.datagram_talks[name]
        if "datagram" in step:
            texts = step["datagram"]
            for each in texts if isinstance(texts, list) else [texts]:
                talk.send(message_bytes(each))
            return
        wanted = step["datagrams"] if isinstance(step["datagrams"], dict) else {"count": step["datagrams"]}
        await talk.expect(wanted["count"], wanted.get("within", PATIENCE), pause_class)

    async def _look(self, verb: str, wanted: str) -> None:
        assert self.admin is not None
        _, body = await self.admin("GET", "/clusters" if verb == "hosts" else "/stats")
        mine = [line for line in body.splitlines() if self.prefix in line or line.startswith("cluster_manager.")]
        own = [line for line in mine if re.search(wanted, line)]
        self.seen.append("\n".join(own) or f"no {wanted}")

    def _swap(self, name: str, target: str) -> None:
        """Make the symbolic link `name` lead to `target`, in one step."""
        assert self.directory is not None
        new = self.directory / f"{name}.new"
        new.symlink_to(target)
        new.replace(self.directory / name)

    async def _send(self, talk: Talk, value: Any) -> None:
        if isinstance(talk, Http2Talk):
            talk.send(talk.session.writer.encode(value))
            return
        if isinstance(value, list):
            talk.sent(message_bytes([part for part in value if not (isinstance(part, dict) and "pause" in part)]))
            together: list[Any] = []
            for part in [*value, {"pause": 0}]:
                if not (isinstance(part, dict) and "pause" in part):
                    together.append(part)
                    continue
                if together:
                    talk.wire.send(message_bytes(together))  # in one piece, or it is chance how much the proxy reads
                    together = []
                await asyncio.sleep(part["pause"])
            return
        data = message_bytes(value)
        talk.sent(data)
        talk.wire.send(data)

    async def _expect(self, talk: Talk, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
        wire = talk.wire
        clock = asyncio.get_running_loop().time
        begin, before = clock(), len(wire.received)
        if not await wire.until(lambda: condition() or wire.ended is not None, patience):
            talk.note("<nothing more came>" if len(wire.received) == before else "<incomplete>")
        waited = clock() - begin
        if waited >= AT_ONCE and condition():
            talk.notes.append((before, f"<{pause_class(waited)}>"))

    async def _do_connect(self, talk: Talk, value: Any) -> None:
        """`_talk` has connected."""
        if isinstance(talk, Http2Talk):
            talk.send(b"")

    async def _do_request(self, talk: Talk, value: Any) -> None:
        await self._send(talk, value)
        await self._do_expect(talk, "response")

    async def _do_ask(self, talk: Talk, value: str) -> None:
        await self._do_request(talk, f"{value} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")

    async def _do_get(self, talk: Talk, value: str) -> None:
        if isinstance(talk, Http2Talk):
            await self._do_request(talk, {"headers": f"GET {value}", "end": True})
            return
        await self._do_request(talk, f"GET {value} HTTP/1.1\r\nhost: a.test\r\n\r\n")

    async def _do_send(self, talk: Talk, value: Any) -> None:
        await self._send(talk, value)

    async def _do_expect(self, talk: Talk, value: Any) -> None:
        if value == "response":
            value = {"count": 1}
        if value == "goaway":
            value = {"goaway": True}
        if value == "eof":
            await self._expect(talk, lambda: talk.wire.ended is not None)
            return
        if isinstance(value, int):
            wanted = talk.wire.read_position + value
            await self._expect(talk, lambda: len(talk.wire.received) >= wanted)
            talk.wire.read_position = min(wanted, len(talk.wire.received))
            return
        if "for" in value:
            await asyncio.sleep(value["for"])
            return
        if isinstance(talk, Http2Talk):
            await self._expect_frames(talk, value)
            return
        talk.shown += value["count"]
        wanted = talk.shown
        await self._expect(talk, lambda: len(talk.responses()) >= wanted, value.get("within", PATIENCE))

    async def _expect_frames(self, talk: Http2Talk, value: dict[str, Any]) -> None:
        session = talk.session
        patience = value.get("within", PATIENCE)
        if "goaway" in value:
            wanted = talk.frames_seen = talk.frames_seen + 1
            await self._expect(talk, lambda: talk.goaways() >= wanted, patience)
        elif "frames" in value:
            wanted = len(session.shown()) + value["frames"]
            await self._expect(talk, lambda: len(session.shown()) >= wanted, patience)
        else:
            await self._expect(talk, lambda: not session.waits_for(), patience)

    async def _do_beneath(self, talk: Talk, value: Any) -> None:
        tls.beneath(talk.wire.transport, message_bytes(value))

    async def _do_renegotiate(self, talk: Talk, value: Any) -> None:
        tls.renegotiate(talk.wire.transport)

    async def _do_key_update(self, talk: Talk, value: int) -> None:
        tls.key_updates(talk.wire.transport, value)

    async def _do_half_close(self, talk: Talk, value: Any) -> None:
        talk.wire.half_close()

    async def _do_close(self, talk: Talk, value: Any) -> None:
        talk.wire.close()

    async def _do_reset(self, talk: Talk, value: Any) -> None:
        talk.wire.reset()

    async def _do_pause(self, talk: Talk, value: Any) -> None:
        talk.wire.pause()

    async def _do_resume(self, talk: Talk, value: Any) -> None:
        talk.wire.resume()

    async def _observe(self, name: str, talk: Talk) -> None:
        wire = talk.wire
        if wire.we_ended:
            return
        end, watch, reset = "", self.watch, 0.02  # a FIN may be followed by an RST
        if self.ends is not None:
            end = self.ends.get(name, "")
            watch = SEEN_OPEN if end == "kept open" else PATIENCE
            reset = PATIENCE if end.startswith("reset") else reset
        await wire.until(lambda: wire.ended is not None, watch)
        if wire.ended is None:
            talk.note("kept open")
            return
        await wire.until(lambda: wire.ended == "reset", reset)
        talk.note(f"{wire.ended} {pause_class(wire.ended_at - wire.last)}")
