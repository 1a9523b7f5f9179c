"""How the host that the upstream sees is made.

Envoy: `RouteEntryImplBase::finalizeHostHeader`; docs "Host rewriting".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..http.header_map import RequestHeaderMap
from ..matchers.regex import compile_substitution
from .path_rewriter import compile_text

if TYPE_CHECKING:
    from ..stream_info import StreamInfo

HostRewriter = Callable[[RequestHeaderMap, "StreamInfo"], "bytes | None"]
"""Gives the new host; None or an empty one leaves it."""


def compile_host_rewriter(action: Any, path: str, sources: Any) -> HostRewriter | None:
    """Of a `RouteAction`; None if it leaves the host, or if the host depends on the endpoint (`auto_host_rewrite`).

    Raises:
        ConfigError: a wrong regular expression or format.
    """
    kind = action.WhichOneof("host_rewrite_specifier")
    if kind == "host_rewrite_literal":
        literal = action.host_rewrite_literal.encode()
        return (lambda headers, stream: literal) if literal else None
    if kind == "host_rewrite_header":
        name = action.host_rewrite_header.lower().encode()
        return lambda headers, stream: headers.get(name)
    if kind == "host_rewrite_path_regex":
        substitute = compile_substitution(action.host_rewrite_path_regex, f"{path}.host_rewrite_path_regex")
        return lambda headers, stream: substitute(headers.path.partition(b"?")[0])
    if kind == "host_rewrite":
        return compile_text(action.host_rewrite, f"{path}.host_rewrite", sources)
    return None
