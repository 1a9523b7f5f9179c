"""What the admin interface is asked and what it answers.

Envoy: `Server::AdminStream`, `Http::Utility::QueryParamsMulti`, `Utility::populateFallbackResponseHeaders`
(`source/server/admin/utils.cc`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...http.header_map import ResponseHeaderMap
from ...record import field, record

TEXT: Final = "text/plain; charset=UTF-8"
JSON: Final = "application/json"
HTML: Final = "text/html; charset=UTF-8"
_FORM: Final = "application/x-www-form-urlencoded"
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class QueryParams:
    """A query, decoded: names in their alphabetical order, of each name every value in the order given."""

    __slots__ = ("_values",)

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        values: dict[str, list[str]] = {}
        for name, value in pairs:
            values.setdefault(name, []).append(value)
        self._values = dict(sorted(values.items()))

    @classmethod
    def parse(cls, text: str) -> QueryParams:
        """From `a=1&b=%32`; `+` stays a plus, a name without `=` has an empty value."""
        pairs = []
        for param in text.removesuffix("&").split("&") if text else ():
            name, _, value = param.partition("=")
            pairs.append((percent_decode(name), percent_decode(value)))
        return cls(pairs)

    def first(self, name: str) -> str | None:
        """The first value of `name`; None if it is not there."""
        values = self._values.get(name)
        return None if values is None else values[0]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(self._values)

    def first_values(self) -> dict[str, str]:
        """Of each name the first value."""
        return {name: values[0] for name, values in self._values.items()}


@record
class AdminRequest:
    """One request, with its whole body.

    Attributes:
        method: as sent, e.g. `GET`.
        path: without the query.
        target: with it, as the client sent it.
        query: from the target; if that has none, from a form in the body.
    """

    method: str
    path: str
    target: str
    query: QueryParams
    body: bytes = b""

    @classmethod
    def from_parts(cls, method: str, target: str, content_type: str = "", body: bytes = b"") -> AdminRequest:
        path, _, text = target.partition("?")
        query = QueryParams.parse(text)
        if not len(query) and content_type == _FORM and body:
            query = QueryParams.parse(body.decode("utf-8", "replace"))
        return cls(method, path, target, query, body)


@record(frozen=False)
class AdminResponse:
    """An answer. `headers` are what the handler itself says, in order; `header_map` adds what all answers have.

    `body` may be what renders it (Envoy: `Admin::Request::nextChunk`): it is asked when the head has been given to the
    connection manager, so what is told of statistics counts this very answer.
    """

    status: int = 200
    body: bytes | Callable[[], bytes] = b""
    headers: list[tuple[str, str]] = field(default_factory=list)

    def rendered(self) -> bytes:
        """The body; asked for once, when the head is on its way."""
        return self.body if isinstance(self.body, bytes) else self.body()

    def header_map(self) -> ResponseHeaderMap:
        headers = ResponseHeaderMap(self.status)
        for name, value in self.headers:
            headers.add(name.encode("latin-1"), value.encode("latin-1"))
        if not headers.has(b"content-type"):
            headers.add(b"content-type", TEXT.encode())
        if not headers.has(b"cache-control"):
            headers.add(b"cache-control", b"no-cache, max-age=0")
        # Added even where a handler has it already, as Envoy does.
        headers.add(b"x-content-type-options", b"nosniff")
        return headers


def text_response(text: str, status: int = 200, content_type: str = TEXT) -> AdminResponse:
    return AdminResponse(status, text.encode("utf-8", "surrogateescape"), [("content-type", content_type)])


def ok() -> AdminResponse:
    """What a command answers that has nothing to say."""
    return text_response("OK\n")


def json_response(value: Any, status: int = 200) -> AdminResponse:
    """Plain values as protobuf's JSON printer lays them out."""
    from .json_text import json_text

    return text_response(json_text(value) + "\n", status, JSON)


def percent_decode(text: str) -> str:
    """`%41` becomes `A`; a percent sign without two hexadecimal digits stays (`PercentEncoding::decode`)."""
    if "%" not in text:
        return text
    parts = text.split("%")
    decoded = bytearray(parts[0].encode("utf-8", "surrogateescape"))
    for part in parts[1:]:
        if len(part) >= 2 and part[0] in _HEX and part[1] in _HEX:
            decoded.append(int(part[:2], 16))
            decoded += part[2:].encode("utf-8", "surrogateescape")
        else:
            decoded += b"%" + part.encode("utf-8", "surrogateescape")
    return decoded.decode("utf-8", "replace")
