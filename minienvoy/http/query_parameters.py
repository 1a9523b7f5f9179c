"""The query of a path, taken apart and put together again.

Envoy: `Http::Utility::QueryParamsMulti`.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

QueryParameters = dict[bytes, list[bytes]]
"""Names and the values of each, in their order."""


def parse_query(path: bytes, *, decode: bool = False) -> QueryParameters:
    """Of a whole path. A name without a value has an empty one."""
    parameters: QueryParameters = {}
    query = path.partition(b"?")[2]
    if query:
        pieces = query.split(b"&")
        if not pieces[-1]:
            pieces.pop()
        for piece in pieces:
            name, _, value = piece.partition(b"=")
            if decode:
                name, value = unquote_to_bytes(name), unquote_to_bytes(value)
            parameters.setdefault(name, []).append(value)
    return parameters


def replace_query(path: bytes, parameters: QueryParameters) -> bytes:
    """`path` with another query: in the order of the names, and, as in Envoy, what was decoded is not encoded again."""
    pairs = [name + b"=" + value for name in sorted(parameters) for value in parameters[name]]
    return b"?".join([path.partition(b"?")[0], *([b"&".join(pairs)] if pairs else [])])
