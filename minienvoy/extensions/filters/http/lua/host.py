"""The functions that scripts call, through `stream_handle.lua`.

Envoy: the methods of `StreamHandleWrapper` and of the wrappers beside it. The first argument of nearly all of them is
the number of a stream's handle. Texts are bytes; what is returned as a tuple are several values in Lua.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..... import logger
from .....access_log.commands_metadata import state_field, state_text
from .....http.ascii_number import unsigned
from .....http.header_map import HeaderMap
from .....network.address import Address
from .....upstream.load_balancer import OverrideHost
from ...common.lua.metadata import tokens_of, value_of
from ...common.lua.state import text_of
from . import crypto, headers, ssl_values
from .http_call import send_call

if TYPE_CHECKING:
    from .....server.factory_context import ServerContext
    from .....stats.store import Gauge
    from .....stream_info import StreamInfo
    from .stream_handle import StreamHandle

CANONICAL_NAME: Final = "envoy.filters.http.lua"
_UNITS: Final = {
    b"ms": "ms",
    b"milliseconds": "ms",
    b"microseconds": "us",
    b"nanoseconds": "unspecified",
    b"bytes": "bytes",
    b"unspecified": "unspecified",
}
_UINT64: Final = 2**64 - 1

log = logger.get("lua")


def _address(address: Address | None) -> bytes:
    return b"" if address is None else address.text.encode()


_STREAM_VALUES: Final[dict[bytes, Callable[[StreamInfo], bytes]]] = {
    b"protocol": lambda info: (info.protocol or "").encode(),
    b"routeName": lambda info: info.route_name.encode(),
    b"virtualClusterName": lambda info: (info.virtual_cluster_name or "").encode(),
    b"requestedServerName": lambda info: info.connection.requested_server_name.encode(),
    b"downstreamLocalAddress": lambda info: _address(info.connection.local_address),
    b"downstreamDirectLocalAddress": lambda info: _address(info.connection.direct_local_address),
    b"downstreamRemoteAddress": lambda info: _address(info.connection.remote_address),
    b"downstreamDirectRemoteAddress": lambda info: _address(info.connection.direct_remote_address),
}


class StreamHandles:
    """Those of one machine, by their numbers; methods without an underscore are called from Lua."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._handles: dict[int, StreamHandle] = {}

    def functions(self) -> dict[str, Callable[..., Any]]:
        """What Lua is given."""
        own = ("add", "remove", "functions")
        return {name: getattr(self, name) for name in vars(StreamHandles) if name[0] != "_" and name not in own}

    def add(self, id: int, handle: StreamHandle) -> None:
        self._handles[id] = handle

    def remove(self, id: int) -> None:
        self._handles.pop(id, None)

    # -- the log

    def log_trace(self, message: bytes) -> None:
        log.trace(f"script log: {text_of(message)}")

    def log_debug(self, message: bytes) -> None:
        log.debug(f"script log: {text_of(message)}")

    def log_info(self, message: bytes) -> None:
        log.info(f"script log: {text_of(message)}")

    def log_warn(self, message: bytes) -> None:
        log.warning(f"script log: {text_of(message)}")

    def log_err(self, message: bytes) -> None:
        log.error(f"script log: {text_of(message)}")

    def log_critical(self, message: bytes) -> None:
        log.critical(f"script log: {text_of(message)}")

    # -- headers

    def modify_headers(self, id: int, kind: bytes) -> bool:
        """Whether they can still be changed; if so, they will be."""
        handle = self._handles[id]
        if kind != b"headers":
            return True
        if handle.headers_continued:
            return False
        handle.side.on_headers_modified()
        return True

    def add_header(self, id: int, kind: bytes, name: bytes, value: bytes) -> None:
        headers.add_header(self._headers(id, kind), name.lower(), value)

    def replace_header(self, id: int, kind: bytes, name: bytes, value: bytes) -> None:
        headers.replace_header(self._headers(id, kind), name.lower(), value)

    def remove_header(self, id: int, kind: bytes, name: bytes) -> None:
        headers.remove_header(self._headers(id, kind), name.lower())

    def get_header(self, id: int, kind: bytes, name: bytes) -> bytes | None:
        return self._headers(id, kind).joined(name.lower())

    def get_header_at(self, id: int, kind: bytes, name: bytes, index: int) -> bytes | None:
        values = self._headers(id, kind).get_all(name.lower())
        return values[index] if 0 <= index < len(values) else None

    def count_header(self, id: int, kind: bytes, name: bytes) -> int:
        return len(self._headers(id, kind).get_all(name.lower()))

    def all_headers(self, id: int, kind: bytes) -> tuple[bytes, ...]:
        return headers.all_headers(self._headers(id, kind))

    def set_reason(self, id: int, kind: bytes, phrase: bytes) -> None:
        headers.set_reason(self._headers(id, kind), phrase)

    # -- bodies

    def body(self, id: int, always: bool) -> tuple[Any, ...]:
        return self._handles[id].body(always)

    def begin_chunks(self, id: int) -> tuple[Any, ...]:
        return self._handles[id].begin_chunks()

    def next_chunk(self, id: int) -> bool:
        return self._handles[id].next_chunk()

    def trailers(self, id: int) -> tuple[Any, ...]:
        return self._handles[id].wait_for_trailers()

    def body_length(self, id: int, chunk: bool) -> int:
        return len(self._body(id, chunk))

    def body_bytes(self, id: int, chunk: bool, start: int, length: int) -> bytes | None:
        body = self._body(id, chunk)
        if start < 0 or length < 0 or start + length > len(body):
            return None
        return body[start : start + length]

    def drain_body(self, id: int, chunk: bool) -> None:
        handle = self._handles[id]
        if chunk:
            handle.chunk = b""
        else:
            handle.side.modify_buffer(b"")

    def set_body(self, id: int, chunk: bool, data: bytes) -> None:
        handle = self._handles[id]
        if chunk:
            handle.chunk = data
        else:
            handle.side.modify_buffer(data)
        handle.headers.set(b"content-length", b"%d" % len(data))

    # -- metadata

    def has_metadata(self, id: int, source: bytes, name: bytes) -> bool:
        return text_of(name) in self._metadata(id, source)

    def metadata(self, id: int, source: bytes, name: bytes) -> tuple[Any, ...]:
        return tokens_of(self._metadata(id, source)[text_of(name)])

    def metadata_names(self, id: int, source: bytes) -> tuple[bytes, ...]:
        return tuple(name.encode("utf-8", "surrogateescape") for name in self._metadata(id, source))

    def has_dynamic_metadata(self, id: int, of_connection: bool, name: bytes) -> bool:
        return text_of(name) in self._dynamic_metadata(id, of_connection)

    def dynamic_metadata(self, id: int, of_connection: bool, name: bytes) -> tuple[Any, ...]:
        return tokens_of(self._dynamic_metadata(id, of_connection)[text_of(name)])

    def dynamic_metadata_names(self, id: int, of_connection: bool) -> tuple[bytes, ...]:
        return tuple(name.encode("utf-8", "surrogateescape") for name in self._dynamic_metadata(id, of_connection))

    def set_dynamic_metadata(self, id: int, name: bytes, key: bytes, tokens: Any) -> None:
        values: Iterator[Any] = iter([token for _, token in sorted(tokens.items())])
        own = self._info(id).dynamic_metadata
        space = text_of(name)
        own[space] = {**own.get(space, {}), text_of(key): value_of(values)}

    # -- the stream and its connection

    def stream_values(self) -> tuple[bytes, ...]:
        return tuple(_STREAM_VALUES)

    def stream_value(self, id: int, name: bytes) -> bytes:
        return _STREAM_VALUES[name](self._info(id))

    def filter_state(self, id: int, name: bytes, field: bytes | None) -> bytes | None:
        value = self._info(id).state(text_of(name))
        found = None
        if value is not None:
            found = state_text(value) if field is None else state_field(value, text_of(field))
        return None if found is None else found.encode("utf-8", "surrogateescape")

    def set_filter_state(self, id: int, name: bytes, factory: bytes, value: bytes) -> tuple[Any, ...]:
        from ...common.set_filter_state import FACTORIES

        make = FACTORIES.get(text_of(factory))
        if make is None:
            return (False, b"'%b' does not have an object factory" % factory)
        made = make(text_of(value))
        if made is None:
            return (False, b"failed to create an object '%b' from value '%b'" % (name, value))
        self._info(id).filter_state[text_of(name)] = made
        return (True,)

    def drain_connection(self, id: int) -> None:
        self._handles[id].filter.decoder_callbacks.drain_connection_upon_completion()

    def has_ssl(self, id: int) -> bool:
        return self._info(id).connection.ssl is not None

    def ssl_values(self) -> tuple[bytes, ...]:
        return tuple(ssl_values.VALUES)

    def ssl_lists(self) -> tuple[bytes, ...]:
        return tuple(ssl_values.LISTS)

    def ssl_value(self, id: int, name: bytes) -> Any:
        return ssl_values.VALUES[name](self._info(id).connection.ssl)

    def ssl_list(self, id: int, name: bytes) -> tuple[bytes, ...]:
        return tuple(each.encode() for each in ssl_values.LISTS[name](self._info(id).connection.ssl))

    def subject_common_name(self, id: int) -> bytes:
        return ssl_values.common_name(self._info(id).connection.ssl)

    def subject_organizations(self, id: int) -> tuple[bytes, ...]:
        return ssl_values.organizations(self._info(id).connection.ssl)

    # -- statistics

    def add_to_counter(self, id: int, name: bytes, amount: int) -> None:
        self._scope(id).counter(text_of(name)).add(int(amount))

    def counter_value(self, id: int, name: bytes) -> int:
        return int(self._scope(id).counter(text_of(name)).value)

    def add_to_gauge(self, id: int, name: bytes, amount: int) -> None:
        gauge = self._gauge(id, name)
        gauge.set((gauge.value + int(amount)) & _UINT64)

    def set_gauge(self, id: int, name: bytes, value: int) -> None:
        self._gauge(id, name).set(int(value))

    def gauge_value(self, id: int, name: bytes) -> float:
        return float(self._gauge(id, name).value)

    def is_unit(self, name: bytes) -> bool:
        return name in _UNITS

    def record_value(self, id: int, name: bytes, unit: bytes, value: int) -> None:
        self._scope(id).histogram(text_of(name), _UNITS[unit]).record(int(value))

    # -- calls and answers

    def has_cluster(self, id: int, name: bytes) -> bool:
        return self._server.cluster_manager.get(text_of(name)) is not None

    def http_call(
        self,
        id: int,
        cluster: bytes,
        body: bytes | None,
        timeout: float,
        asynchronous: bool | None,
        sampled: bool | None,
        duplicates: bool | None,
        send_xff: bool | None,
        *flat: bytes,
    ) -> tuple[Any, ...]:
        return send_call(
            self._server,
            self._handles[id],
            text_of(cluster),
            headers.pairs_of(flat),
            body,
            timeout / 1000.0,
            bool(asynchronous),
            sampled,
            bool(duplicates),
            send_xff is not False,
        )

    def may_respond(self, id: int) -> tuple[Any, ...]:
        return self._handles[id].may_respond()

    def respond(self, id: int, body: bytes | None, *flat: bytes) -> tuple[Any, ...]:
        pairs = headers.pairs_of(flat)
        found = [value for name, value in pairs if name == b":status"]
        status = unsigned(b",".join(found), 600)
        if status is None or status < 200:
            return (False, b":status must be between 200-599")
        if body is not None:
            pairs = [pair for pair in pairs if pair[0] != b"content-length"]
        return self._handles[id].respond(status, body or b"", pairs)

    # -- what else there is

    def import_public_key(self, id: int, data: bytes, length: float) -> bool:
        part = data[: int(length)]
        key = crypto.import_public_key(part)
        if key is not None:
            self._handles[id].public_keys[part] = key
        return key is not None

    def has_public_key(self, id: int, key: bytes) -> bool:
        return key in self._handles[id].public_keys

    def verify_signature(
        self, id: int, hash: bytes, key: bytes, signature: bytes, size: float, text: bytes, text_size: float
    ) -> bytes | None:
        known = self._handles[id].public_keys[key]
        problem = crypto.verify_signature(text_of(hash), known, signature[: int(size)], text[: int(text_size)])
        return None if problem is None else problem.encode()

    def base64_escape(self, data: bytes) -> bytes:
        return base64.b64encode(data)

    def base64_decode(self, text: bytes) -> bytes | None:
        """Blanks do not count, and what stands at the end to fill it up may be left out."""
        plain = b"".join(text.split()).rstrip(b"=.")
        try:
            return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
        except binascii.Error:
            return None

    def unsigned(self, text: bytes) -> int | None:
        return unsigned(text)

    def microseconds(self, id: int) -> float:
        return float(int(self._server.dispatcher.wall_time() * 1e6))

    def is_ip_address(self, host: bytes) -> bool:
        return _ip_of(text_of(host))

    def set_override_host(self, id: int, host: bytes, strict: bool) -> None:
        handle = self._handles[id]
        if handle.side.may_respond:
            self._info(id).upstream_override_host = OverrideHost(text_of(host), strict)

    def clear_route_cache(self, id: int) -> None:
        self._handles[id].side.clear_route_cache()

    # -- inside

    def _info(self, id: int) -> StreamInfo:
        return self._handles[id].filter.decoder_callbacks.stream_info

    def _headers(self, id: int, kind: bytes) -> HeaderMap:
        handle = self._handles[id]
        if kind == b"headers":
            return handle.headers
        found = handle.trailers if kind == b"trailers" else handle.filter.request_headers
        assert found is not None
        return found

    def _body(self, id: int, chunk: bool) -> bytes:
        handle = self._handles[id]
        return handle.chunk if chunk else handle.side.buffer()

    def _metadata(self, id: int, source: bytes) -> Mapping[str, Any]:
        filter = self._handles[id].filter
        if source == b"context":
            return filter.context()
        route = filter.decoder_callbacks.route()
        if route is None:
            return {}
        of_all: Mapping[str, Any] = route.virtual_host_metadata if source == b"virtual_host" else route.metadata
        name = filter.config.name
        if source == b"own" and name not in of_all:
            name = CANONICAL_NAME
        found: Mapping[str, Any] = of_all.get(name, {})
        return found

    def _dynamic_metadata(self, id: int, of_connection: bool) -> Mapping[str, Any]:
        filter = self._handles[id].filter
        if of_connection:
            return filter.decoder_callbacks.downstream_connection.stream_info.dynamic_metadata
        return self._info(id).dynamic_metadata

    def _scope(self, id: int) -> Any:
        return self._handles[id].filter.config.stats_scope

    def _gauge(self, id: int, name: bytes) -> Gauge:
        gauge: Gauge = self._scope(id).gauge(text_of(name))
        return gauge


def _ip_of(host: str) -> bool:
    """Whether an authority is an IP address, with a port or without."""
    if host[:1] == "[":
        inner, _, rest = host[1:].partition("]")
        host, rest = inner, rest.removeprefix(":")
    else:
        host, _, rest = host.rpartition(":") if host.count(":") == 1 else (host, "", "")
    try:
        Address.ip(host, 0)
    except ValueError:
        return False
    return not rest or rest.isdecimal()
