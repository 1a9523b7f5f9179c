"""Header maps.

Envoy: `Http::HeaderMap`, `RequestHeaderMap`, `ResponseHeaderMap`.

A header is an `Entry`: its name in lower case, its value, the line that goes on the wire, and its `Kind`. Entries are
immutable and shared: the HTTP/1 codec keeps a bounded cache of the lines it has parsed. `Kind` is what Envoy's O(1)
"inline headers" are here: names that the machinery itself looks for have a bit, a map knows which bits may be in it
(`seen`), and a look-up for one that is not there costs one `and`. The pseudo-headers are attributes.

Bits of the names that most messages have, and by which nobody decides anything, come first: `seen <= ORDINARY` says in
one comparison that a message has no others. They fit into one digit of Python's numbers, whose arithmetic is quick.

Inside the proxy values are bytes; `headers["x-user"]` gives and takes `str` (latin-1, so that any byte survives).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final

Entry = tuple[bytes, bytes, bytes, int]
"""(name, value, wire line with CRLF, kind)"""


def _kinds() -> dict[bytes, int]:
    names = (
        # The ordinary ones. Where one of these does decide something, it is asked for by its own bit.
        b"host content-length content-type date server x-forwarded-proto x-request-id x-envoy-expected-rq-timeout-ms "
        b"x-envoy-upstream-service-time accept accept-encoding access-control-allow-credentials "
        b"access-control-allow-origin age authorization cache-control content-encoding etag expires if-modified-since "
        b"if-none-match last-modified location origin pragma referer upgrade-insecure-requests user-agent vary via "
        # What the HTTP/1 codec itself must look at.
        b"transfer-encoding connection upgrade expect keep-alive proxy-connection te trailer http2-settings "
        # What the connection manager rewrites or reads.
        b"x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-client-cert x-client-trace-id "
        # Envoy's own headers.
        b"x-envoy-internal x-envoy-external-address x-envoy-force-trace x-envoy-retry-on x-envoy-retry-grpc-on "
        b"x-envoy-max-retries x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-per-try-timeout-ms "
        b"x-envoy-ip-tags x-envoy-decorator-operation "
        b"x-envoy-downstream-service-cluster x-envoy-downstream-service-node x-envoy-original-path "
        b"x-envoy-original-host x-envoy-original-url x-envoy-attempt-count x-envoy-upstream-alt-stat-name "
        b"x-envoy-upstream-rq-timeout-alt-response x-envoy-hedge-on-per-try-timeout x-envoy-retriable-status-codes "
        b"x-envoy-retriable-header-names x-envoy-upstream-stream-duration-ms x-envoy-is-timeout-retry "
        b"x-envoy-overloaded x-envoy-ratelimited x-envoy-immediate-health-check-fail "
        b"x-envoy-upstream-healthchecked-cluster x-envoy-upstream-canary x-envoy-degraded x-envoy-local-overloaded "
        b"grpc-timeout grpc-status grpc-message "
        # What is only joined when it comes twice.
        b"access-control-allow-headers access-control-allow-methods access-control-allow-private-network "
        b"access-control-expose-headers access-control-max-age access-control-request-headers "
        b"access-control-request-method access-control-request-private-network authentication grpc-accept-encoding "
        b"if-match if-range if-unmodified-since proxy-status"
    )
    return {name: 1 << bit for bit, name in enumerate(names.split())}


KIND: Final[dict[bytes, int]] = _kinds()
"""Header name -> its bit in `Entry[3]` and `HeaderMap.seen`; every other name has kind 0."""

ORDINARY: Final = 2 * KIND[b"via"] - 1
"""The bits of the ordinary names: `seen` is greater if there may be any other."""


CASED: Final = 1 << (len(KIND) + 1)
"""In `HeaderMap.seen`: there is a `key_formatter`. The bit below is the HTTP/1 codec's."""
SUSPECT: Final = CASED << 1
"""In `HeaderMap.seen`: a format, or the configuration, has put something into these headers that none may hold."""

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_breaking = re.compile(rb"[\x00\r\n]")
_forbidden = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def is_valid_name(name: bytes) -> bool:
    """Whether a header may be called that (`HeaderUtility::headerNameIsValid`)."""
    return _is_name(name) is not None


def is_valid_value(value: bytes) -> bool:
    """Whether a header may have that value (`HeaderUtility::headerValueIsValid`)."""
    return _forbidden.search(value) is None


def suspect(item: Entry) -> Entry:
    """The same, and marked if it can not be sent to an upstream."""
    if _is_name(item[0]) is not None and is_valid_value(item[1]):
        return item
    return (item[0], item[1], item[2], item[3] | SUSPECT)


def refusal(headers: RequestHeaderMap) -> str:
    """Why an upstream is sent nothing of these (`HeaderUtility::checkRequiredRequestHeaders`,
    `checkValidRequestHeaders`); empty if it may be."""
    if not headers.method:
        return "missing required header: :method"
    if not headers.path and headers.method != b"CONNECT":
        return "missing required header: :path"
    pairs = [(b":authority", headers.authority), (b":path", headers.path)]
    pairs += [(item[0], item[1]) for item in headers.entries]
    for name, value in pairs:
        if name[:1] != b":" and _is_name(name) is None:
            return f"invalid header name: {name.decode('latin-1')}"
        if not is_valid_value(value):
            return f"invalid header value for: {name.decode('latin-1')}"
    return ""


def without_controls(value: bytes) -> bytes:
    """Blanks in the place of line breaks and NUL, which could make two headers of one (RFC 9110 5.5)."""
    return _breaking.sub(b" ", value)


def _bits(names: bytes) -> int:
    return sum(KIND[name] for name in names.split())


JOINED: Final = _bits(
    b"connection upgrade expect keep-alive proxy-connection te http2-settings x-forwarded-for x-forwarded-proto "
    b"x-forwarded-host x-forwarded-port x-forwarded-client-cert x-request-id x-client-trace-id via user-agent "
    b"content-type x-envoy-internal x-envoy-external-address x-envoy-force-trace x-envoy-retry-on "
    b"x-envoy-retry-grpc-on x-envoy-max-retries x-envoy-upstream-rq-timeout-ms "
    b"x-envoy-upstream-rq-per-try-timeout-ms x-envoy-expected-rq-timeout-ms x-envoy-ip-tags "
    b"x-envoy-decorator-operation x-envoy-downstream-service-cluster x-envoy-downstream-service-node "
    b"x-envoy-original-path x-envoy-original-host x-envoy-original-url x-envoy-attempt-count "
    b"x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-timeout-alt-response x-envoy-hedge-on-per-try-timeout "
    b"x-envoy-retriable-status-codes "
    b"x-envoy-retriable-header-names x-envoy-upstream-stream-duration-ms x-envoy-is-timeout-retry grpc-timeout accept "
    b"accept-encoding access-control-request-headers access-control-request-method "
    b"access-control-request-private-network authentication authorization cache-control content-encoding "
    b"grpc-accept-encoding if-match if-modified-since if-none-match if-range if-unmodified-since origin pragma "
    b"proxy-status referer"
)
"""Headers that a request has once (Envoy's inline headers): what comes again is joined to the first by a comma."""

RESPONSE_JOINED: Final = _bits(
    b"connection keep-alive proxy-connection date server content-type via x-request-id x-envoy-upstream-service-time "
    b"x-envoy-attempt-count x-envoy-decorator-operation x-envoy-degraded x-envoy-immediate-health-check-fail "
    b"x-envoy-ratelimited x-envoy-upstream-canary x-envoy-upstream-healthchecked-cluster grpc-status grpc-message "
    b"access-control-allow-credentials access-control-allow-headers access-control-allow-methods "
    b"access-control-allow-origin access-control-allow-private-network access-control-expose-headers "
    b"access-control-max-age age cache-control content-encoding etag expires last-modified location proxy-status vary"
)
"""Likewise, for a response."""


def entry(name: bytes, value: bytes) -> Entry:
    """Make an entry; `name` must be in lower case already."""
    return (name, value, b"%b: %b\r\n" % (name, value), KIND.get(name, 0))


def join_repeated(entries: list[Entry], kinds: int) -> list[Entry]:
    """Join headers whose kind is in the bit set `kinds`, where the first of each stands."""
    values: dict[bytes, list[bytes]] = {}
    for item in entries:
        if item[3] & kinds:
            values.setdefault(item[0], []).append(item[1])
    joined: list[Entry] = []
    for item in entries:
        if not item[3] & kinds:
            joined.append(item)
        elif item[0] in values:
            joined.append(entry(item[0], b",".join(filter(None, values.pop(item[0])))))
    return joined


class HeaderMap:
    """An ordered multimap: a dozen headers are found faster by scanning than by hashing.

    `entries` may be read freely; change it through the methods, which keep `seen` true: a bit that is not in `seen` is
    surely not in the map (the opposite may be wrong after a removal).
    """

    __slots__ = ("entries", "key_formatter", "seen")

    key_formatter: Any
    """Writes names as the message had them; only there if `seen & CASED`."""

    joined_kinds: ClassVar[int] = 0
    """Kinds of which there is one header at most: `append_entry` joins."""

    def __init__(self, entries: list[Entry] | None = None, seen: int | None = None) -> None:
        self.entries: list[Entry] = [] if entries is None else entries
        if seen is None:
            seen = 0
            for item in self.entries:
                seen |= item[3]
        self.seen = seen

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> HeaderMap:
        """From plain pairs; names are lower-cased."""
        return HeaderMap([entry(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs])

    def get(self, name: bytes) -> bytes | None:
        """The first value of `name` (lower case), or None."""
        kind = KIND.get(name, 0)
        if kind and not self.seen & kind:
            return None
        for item in self.entries:
            if item[0] == name:
                return item[1]
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        return [item[1] for item in self.entries if item[0] == name]

    def joined(self, name: bytes) -> bytes | None:
        """All values joined by commas, as Envoy's matchers see a repeated header; None if there is none."""
        values = self.get_all(name)
        return b",".join(values) if values else None

    def has(self, name: bytes) -> bool:
        return self.get(name) is not None

    def add(self, name: bytes, value: bytes) -> None:
        """Append another `name: value`."""
        item = entry(name, value)
        self.entries.append(item)
        self.seen |= item[3]

    def add_entry(self, item: Entry) -> None:
        self.entries.append(item)
        self.seen |= item[3]

    def append_entry(self, item: Entry) -> None:
        """Append a header, or join its value to that of the one that is there where Envoy has only one."""
        if item[3] & self.joined_kinds & self.seen:
            value = self.get(item[0])
            if value is not None:
                if item[1]:
                    self.set(item[0], value + b"," + item[1] if value else item[1])
                return
        self.add_entry(item)

    def set(self, name: bytes, value: bytes) -> None:
        """Give the first `name` this value where it stands, drop the others; append if there is none."""
        item = entry(name, value)
        kind = item[3]
        entries = self.entries
        if not kind or self.seen & kind:
            for at, old in enumerate(entries):
                if old[0] == name:
                    entries[at] = item
                    if any(later[0] == name for later in entries[at + 1 :]):
                        entries[at + 1 :] = [later for later in entries[at + 1 :] if later[0] != name]
                    return
        entries.append(item)
        self.seen |= kind

    def remove(self, name: bytes) -> bool:
        """Drop every `name`; True if there was one."""
        kind = KIND.get(name, 0)
        if kind:
            if not self.seen & kind:
                return False
            self.seen &= ~kind
        kept = [item for item in self.entries if item[0] != name]
        if len(kept) == len(self.entries):
            return False
        self.entries[:] = kept
        return True

    def remove_kinds(self, kinds: int) -> None:
        """Drop every header whose kind is in the bit set `kinds`."""
        if self.seen & kinds:
            self.seen &= ~kinds
            self.entries[:] = [item for item in self.entries if not item[3] & kinds]

    def remove_prefix(self, prefix: bytes) -> None:
        self.entries[:] = [item for item in self.entries if not item[0].startswith(prefix)]

    def byte_size(self) -> int:
        """Sum of the lengths of names and values, as Envoy counts (`HeaderMap::byteSize`)."""
        return sum(len(item[0]) + len(item[1]) for item in self.entries)

    def pairs(self) -> list[tuple[str, str]]:
        """Everything as `str`, in order, pseudo-headers first."""
        return [(item[0].decode("latin-1"), item[1].decode("latin-1")) for item in self.entries]

    def __getitem__(self, name: str) -> str:
        value = self.get(name.lower().encode("latin-1"))
        if value is None:
            raise KeyError(name)
        return value.decode("latin-1")

    def __setitem__(self, name: str, value: str) -> None:
        self.set(name.lower().encode("latin-1"), value.encode("latin-1"))

    def __delitem__(self, name: str) -> None:
        if not self.remove(name.lower().encode("latin-1")):
            raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.has(name.lower().encode("latin-1"))

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pairs()})"


class RequestHeaderMap(HeaderMap):
    """`host` is not among the entries: it is `authority` (`:authority`)."""

    __slots__ = ("authority", "method", "no_authority", "path", "scheme")

    joined_kinds = JOINED

    pseudo_order: ClassVar[tuple[bytes, ...]] = (b":authority", b":path", b":method", b":scheme")
    """In which order HTTP/2 has the pseudo-headers."""

    def __init__(
        self,
        method: bytes,
        path: bytes,
        authority: bytes,
        entries: list[Entry] | None = None,
        seen: int | None = None,
        scheme: bytes = b"http",
    ) -> None:
        self.entries = [] if entries is None else entries
        if seen is None:
            seen = 0
            for item in self.entries:
                seen |= item[3]
        self.seen = seen
        self.method = method
        self.path = path
        self.authority = authority
        self.scheme = scheme
        self.no_authority = False
        """There was neither a host header nor an authority in the target (an empty one is fine)."""

    def get(self, name: bytes) -> bytes | None:
        if name[:1] == b":":
            return {
                b":path": self.path,
                b":method": self.method,
                b":authority": self.authority,
                b":scheme": self.scheme or None,
            }.get(name)
        if name == b"host":
            return self.authority
        return HeaderMap.get(self, name)

    def get_all(self, name: bytes) -> list[bytes]:
        if name[:1] == b":" or name == b"host":
            value = self.get(name)
            return [] if value is None else [value]
        return HeaderMap.get_all(self, name)

    def put_path(self, path: bytes) -> None:
        """Ask for `path` instead, which no upstream is sent if there is something in it that must not be."""
        self.path = path
        if not is_valid_value(path):
            self.seen |= SUSPECT

    def copy(self) -> RequestHeaderMap:
        copied = type(self)(self.method, self.path, self.authority, self.entries[:], self.seen, self.scheme)
        if self.seen & CASED:
            copied.key_formatter = self.key_formatter
        return copied

    def pairs(self) -> list[tuple[str, str]]:
        pseudo = (
            (b":authority", self.authority),
            (b":path", self.path),
            (b":method", self.method),
            (b":scheme", self.scheme),
        )
        return [(name.decode(), value.decode("latin-1")) for name, value in pseudo] + HeaderMap.pairs(self)


class ResponseHeaderMap(HeaderMap):
    """`status` is an int, as the proxy compares it far more often than it prints it.

    `body_follows` tells the downstream codec that the first body bytes come in this very turn, so that head and body
    can leave in one write; whoever delays the body sets it to False.
    """

    __slots__ = ("body_follows", "status")

    joined_kinds = RESPONSE_JOINED

    def __init__(self, status: int, entries: list[Entry] | None = None, seen: int | None = None) -> None:
        self.entries = [] if entries is None else entries
        if seen is None:
            seen = 0
            for item in self.entries:
                seen |= item[3]
        self.seen = seen
        self.status = status
        self.body_follows = False

    def get(self, name: bytes) -> bytes | None:
        if name == b":status":
            return b"%d" % self.status
        return HeaderMap.get(self, name)

    def get_all(self, name: bytes) -> list[bytes]:
        return [b"%d" % self.status] if name == b":status" else HeaderMap.get_all(self, name)

    def pairs(self) -> list[tuple[str, str]]:
        return [(":status", str(self.status)), *HeaderMap.pairs(self)]
