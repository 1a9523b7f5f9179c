"""A control plane that says what it is told to, and writes down what it was asked (`control_plane` of a backend).

`control_plane: [{ads: [...]}, {ads: [...]}]` has one script for each stream, in the order in which streams of that kind
are opened: `ads` or one of `TYPES`, for the service that is called; the last one of a kind repeats. Actions:

* `expect: CDS` - wait for the next request for that type (a list: for one of each, in any order); what has been asked
  before and was not expected counts.
* `send: {CDS: version, of: [...]}` - a response: its resources, whose `@type` follows from the response (unless they
  have one), beside `nonce` (`n1`, `n2`, ...), `removed` (names, of the incremental protocol), and any other field of
  the message. In a stream of the incremental protocol each is wrapped in a `Resource` under its own name, with the
  version of the response. A resource that is `{wrapped: {...}}` is a `Resource` as written, its `resource` as above.
* `wait: name` - until the client has come to its step `signal: name`.
* frames of http2.py (`trailers`, `rst`, `data`, ...), `sleep`, `close`, `reset`, `never`.

`{name}` in a string stands for the port of the backend `name`, `{id}` for the prefix of the case's names.

What is shown, stream by stream: the header of the call, one line for each request, and how it ended.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from google.protobuf import json_format

from minienvoy.config.schema import message_class

from . import http2
from .wire import Wire

TYPES = {
    "CDS": "envoy.config.cluster.v3.Cluster",
    "EDS": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "LDS": "envoy.config.listener.v3.Listener",
    "RDS": "envoy.config.route.v3.RouteConfiguration",
    "SDS": "envoy.extensions.transport_sockets.tls.v3.Secret",
    "SRDS": "envoy.config.route.v3.ScopedRouteConfiguration",
}
_SHORT = {name: short for short, name in TYPES.items()}
_SERVICES = {
    "AggregatedDiscoveryService": "ads",
    "ClusterDiscoveryService": "CDS",
    "EndpointDiscoveryService": "EDS",
    "ListenerDiscoveryService": "LDS",
    "RouteDiscoveryService": "RDS",
    "SecretDiscoveryService": "SDS",
    "ScopedRoutesDiscoveryService": "SRDS",
}
_DISCOVERY = "envoy.service.discovery.v3."
PATIENCE = 20.0


class Stream:
    """One call: what came, and how far its script is."""

    def __init__(self, number: int, fields: list[tuple[str, str]], kind: str, delta: bool) -> None:
        self.number = number
        self.fields = fields
        self.kind = kind
        self.delta = delta
        self.requests: list[Any] = []
        self.body = b""
        self.unexpected: list[str] = []
        """Types that were asked for and that no `expect` has taken yet."""
        self.nonces = 0
        self.problem = ""


class ControlPlane:
    """What the streams of one connection are answered, by the scripts of a backend."""

    def __init__(self, backend: Any, wire: Wire, session: http2.Session) -> None:
        self._backend = backend
        self._wire = wire
        self._session = session
        self._taken = 0
        self.streams: dict[int, Stream] = {}

    def on_frames(self) -> None:
        """Look at what has come since the last time."""
        frames = self._session.reader.frames[self._taken :]
        self._taken += len(frames)
        for frame in frames:
            self._take(frame)

    def _take(self, frame: http2.Frame) -> None:
        if frame.kind == http2.HEADERS and frame.stream not in self.streams:
            path = dict(frame.fields).get(":path", "")
            service, _, method = path.rpartition("/")
            kind = _SERVICES.get(service.rpartition(".")[2], service)
            stream = self.streams[frame.stream] = Stream(frame.stream, frame.fields, kind, method.startswith("Delta"))
            self._backend.control.begin(self, stream)
        elif frame.kind == http2.DATA and frame.stream in self.streams:
            stream = self.streams[frame.stream]
            stream.body += frame.payload
            while len(stream.body) >= 5 and len(stream.body) >= (end := 5 + int.from_bytes(stream.body[1:5], "big")):
                name = f"{_DISCOVERY}{'Delta' if stream.delta else ''}DiscoveryRequest"
                request = message_class(name).FromString(stream.body[5:end])
                stream.body = stream.body[end:]
                stream.requests.append(request)
                kind = request.type_url.rpartition("/")[2]
                stream.unexpected.append(_SHORT.get(kind, kind))

    async def perform(self, stream: Stream, script: list[Any]) -> None:
        try:
            await self._perform(stream, script)
        except (ValueError, KeyError, TypeError, TimeoutError, json_format.ParseError) as problem:
            stream.problem = f"<the script failed: {type(problem).__name__}: {problem}>"

    async def _perform(self, stream: Stream, script: list[Any]) -> None:
        wire = self._wire
        self._wire.send(self._encode({"headers": "200 | content-type: application/grpc"}, stream))
        for action in script:
            ((verb, value),) = ((key, each) for key, each in action.items() if key not in http2.KEYS)
            if verb == "expect":
                for kind in value if isinstance(value, list) else [value]:
                    await self._expect(stream, kind)
            elif verb == "send":
                response = self._response(stream, self._backend.control.filled(value))
                wire.send(self._encode({"message": response}, stream))
            elif verb == "wait":
                await asyncio.wait_for(self._backend.control.signal(value).wait(), PATIENCE)
            elif verb in ("sleep", "close", "reset", "never"):
                await getattr(self._backend, f"_do_{verb}")(wire, value)
            else:
                wire.send(self._encode(action, stream))

    async def _expect(self, stream: Stream, kind: str) -> None:
        await self._wire.until(lambda: kind in stream.unexpected or self._wire.ended is not None, PATIENCE)
        if kind in stream.unexpected:
            stream.unexpected.remove(kind)

    def _encode(self, frame: Any, stream: Stream) -> bytes:
        return self._session.writer.encode([frame], stream.number)

    def _response(self, stream: Stream, spec: dict[str, Any]) -> dict[str, Any]:
        kind = next(key for key in spec if key in TYPES)
        version, resources = str(spec.pop(kind)), spec.pop("of", [])
        url = f"type.googleapis.com/{TYPES[kind]}"
        stream.nonces += 1
        made: list[Any] = []
        for each in resources:
            if "wrapped" in each:
                wrapped = dict(each["wrapped"])
                if "resource" in wrapped:
                    wrapped["resource"] = {"@type": url, **wrapped["resource"]}
                name = {"@type": f"type.googleapis.com/{_DISCOVERY}Resource"}
                made.append(wrapped if stream.delta else {**name, **wrapped})
            elif stream.delta:
                own = each.get("name") or each.get("cluster_name")
                made.append({"name": own, "version": version, "resource": {"@type": url, **each}})
            else:
                made.append({"@type": url, **each})
        message: dict[str, Any] = {"nonce": f"n{stream.nonces}", "type_url": url, "resources": made}
        if stream.delta:
            message |= {"system_version_info": version, "removed_resources": spec.pop("removed", [])}
        else:
            message["version_info"] = version
        return {"type": f"{_DISCOVERY}{'Delta' if stream.delta else ''}DiscoveryResponse", **message, **spec}

    def shown(self) -> list[Any]:
        ended = self._session.reader.ended
        return [
            [
                " | ".join(f"{name}: {value}" for name, value in stream.fields),
                *map(_request_line, stream.requests),
                *(["ended by the client"] if number in ended else []),
                *([stream.problem] if stream.problem else []),
            ]
            for number, stream in self.streams.items()
        ]


class Control:
    """What all connections of a backend share: its scripts, the client's signals, the tasks."""

    def __init__(self, scripts: list[dict[str, Any]]) -> None:
        self._scripts = [next(iter(each.items())) for each in scripts]
        self._begun: dict[str, int] = {}
        self._signals: dict[str, asyncio.Event] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.words: dict[str, Any] = {}

    def signal(self, name: str) -> asyncio.Event:
        return self._signals.setdefault(name, asyncio.Event())

    def begin(self, plane: ControlPlane, stream: Stream) -> None:
        mine = [script for kind, script in self._scripts if kind == stream.kind] or [[]]
        at = self._begun.get(stream.kind, 0)
        self._begun[stream.kind] = at + 1
        work = plane.perform(stream, mine[min(at, len(mine) - 1)])
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    def filled(self, tree: Any) -> Any:
        """With ports and directories in place of their names in braces."""
        if isinstance(tree, dict):
            return {key: self.filled(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.filled(value) for value in tree]
        if not isinstance(tree, str):
            return tree
        if tree[:1] == "{" and tree[1:-1] in self.words:
            return self.words[tree[1:-1]]
        return re.sub(r"\{(\w+)\}", lambda match: str(self.words.get(match[1], match[0])), tree)

    async def settled(self) -> None:
        """Wait until every script that has begun has come to its end."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=PATIENCE)


def _request_line(request: Any) -> str:
    kind = request.type_url.rpartition("/")[2]
    words = [_SHORT.get(kind, kind or "no type")]
    if "DeltaDiscoveryRequest" in request.DESCRIPTOR.full_name:
        words += [f"+{name}" for name in sorted(request.resource_names_subscribe)]
        words += [f"-{name}" for name in sorted(request.resource_names_unsubscribe)]
        words += [f"has {name}={at}" for name, at in sorted(request.initial_resource_versions.items())]
    else:
        words.append(f"version={request.version_info}")
        words += sorted(request.resource_names)
    words.append(f"nonce={request.response_nonce}")
    if request.HasField("node"):
        words.append(f"node={request.node.id}")
    if request.HasField("error_detail"):
        # Some of Envoy's errors have a dump of a message, which begins with a mark that is never the same.
        reason = re.sub(r"goo\.gle/debug\w+\s*", "", request.error_detail.message)
        words.append(f"error {request.error_detail.code}: {reason.rstrip()}")
    return " ".join(words)


def json_answer(spec: Any, control: Control) -> Any:
    """The answer of a control plane that is asked over HTTP/1."""
    if not isinstance(spec, dict):
        return spec
    filled = control.filled(spec)
    kind = next(key for key in filled if key in TYPES)
    url = f"type.googleapis.com/{TYPES[kind]}"
    resources = [{"@type": url, **each} for each in filled.get("of", [])]
    body = json.dumps({"version_info": str(filled[kind]), "resources": resources})
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}"


def json_request_line(body: bytes) -> str:
    """What a request over HTTP/1 asks for."""
    made = message_class(f"{_DISCOVERY}DiscoveryRequest")()
    pool = made.DESCRIPTOR.file.pool
    return _request_line(json_format.Parse(body, made, ignore_unknown_fields=True, descriptor_pool=pool))
