"""A request that is asked about, and what became of it.

No Envoy counterpart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..explain.explanation import Decision


@dataclass(slots=True)
class Request:
    """As it would come in by a socket.

    Attributes:
        headers: (name, value) in order, without the host unless it was given as a header.
        source: IP address that it comes from.
        listener: its name; empty: by the port of the URL, or the only one.
        tls: it comes by TLS, for the host that the URL names.
        port: of the URL.
    """

    method: str
    target: str
    authority: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    source: str = "127.0.0.1"
    source_port: int = 50000
    listener: str = ""
    tls: bool = False
    port: int = 0
    server_name: str = ""

    @classmethod
    def from_url(
        cls, url: str, method: str = "", headers: Sequence[tuple[str, str]] = (), body: bytes = b"", **rest: Any
    ) -> Request:
        """Of a URL and what curl would be told with `-X`, `-H` and `-d`.

        Raises:
            UsageError: there is no host, or a scheme that is none of HTTP's.
        """
        scheme, separator, after = url.partition("://")
        if not separator:
            scheme, after = "http", url
        if scheme.lower() not in ("http", "https"):
            raise UsageError(f"'{scheme}' is not http or https", "give a URL such as http://example.com/path")
        cut = min((at for at in (after.find("/"), after.find("?")) if at >= 0), default=len(after))
        authority, target = after[:cut], after[cut:]
        if not target.startswith("/"):
            target = "/" + target
        given = next((value for name, value in headers if name.lower() == "host"), None)
        if not authority and given is None:
            raise UsageError(f"'{url}' has no host", "give a URL such as http://example.com/path, or -H 'host: name'")
        tls = scheme.lower() == "https"
        host, colon, port = authority.rpartition(":")
        number = int(port) if colon and port.isascii() and port.isdigit() else (443 if tls else 80)
        method = method or ("POST" if body else "GET")
        if method.upper() == "CONNECT":
            target = authority
        return cls(
            method,
            target,
            authority if given is None else given,
            [(name, value) for name, value in headers if name.lower() != "host"],
            body,
            tls=tls,
            port=number,
            server_name=(host if colon and port.isdigit() else authority).strip("[]"),
            **rest,
        )

    @property
    def wire(self) -> bytes:
        """What the client sends."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"host: {self.authority}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        names = {name.lower() for name, _ in self.headers}
        if self.body and not names & {"content-length", "transfer-encoding"}:
            lines.append(f"content-length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + self.body


@dataclass(slots=True)
class Outcome:
    """What is known of a request at the end of its way.

    Attributes:
        base: where the configuration of the connection manager stands; paths of routes are below it.
        config: the `ConnectionManagerConfig`, or None where it has not come to HTTP.
        route: the `RouteEntry`, or None.
        answer: what the proxy itself would answer.
        headers: of the request as they are in the end, pseudo-headers among them.
    upstreams: (address, bytes) of every connection that was opened: to the host, and to mirrors.
        details: `%RESPONSE_CODE_DETAILS%` of `answer`.
        not_http: what takes the connection in place of an HTTP connection manager.
        waited: simulated seconds until there was an outcome.
    """

    request: Request
    decisions: list[Decision] = field(default_factory=list)
    virtual_host: Decision | None = None
    base: str = ""
    config: Any = None
    route: Any = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    answer: bytes = b""
    upstreams: list[tuple[str, bytes]] = field(default_factory=list)
    details: str = ""
    not_http: str = ""
    waited: float = 0.0

    def decision(self, point: str) -> Decision | None:
        """The last one at `point`."""
        return next((each for each in reversed(self.decisions) if each.point == point), None)


HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n"


def sent_message(outcome: Outcome, wire: bytes) -> tuple[str, list[tuple[str, str]]]:
    """(request line, headers) of what an upstream gets; of HTTP/2 the same in words."""
    if not wire.startswith(HTTP2_PREFACE):
        line, headers, _ = message_of(wire)
        return line, headers
    pseudo = {name: value for name, value in outcome.headers if name[:1] == ":"}
    rest = [(name, value) for name, value in outcome.headers if name[:1] != ":"]
    line = f"{pseudo.get(':method', '')} {pseudo.get(':path', '')} HTTP/2"
    return line, [("host", pseudo.get(":authority", "")), *rest]


def message_of(wire: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
    """(start line, headers, body) of a message that minienvoy has written."""
    head, _, body = wire.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = []
    for line in lines:
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    return first, headers, body
