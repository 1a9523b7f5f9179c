"""Headers that are added, overwritten and removed, one after the other.

Envoy: `Http::HeaderMutations` (`source/common/http/header_mutation.h`); `envoy.config.common.mutation_rules.v3`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..config.fields import honours
from ..errors import ConfigError
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..matchers.string import compile_string_matcher
from .header_parser import HeaderParser

if TYPE_CHECKING:
    from ..access_log.command import CommandTable
    from ..stream_info import StreamInfo

honours("envoy.config.common.mutation_rules.v3.HeaderMutation", "append", "remove", "remove_on_match")
honours("envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch", "key_matcher")

MutateHeaders = Callable[[HeaderMap, "StreamInfo", RequestHeaderMap | None, ResponseHeaderMap | None], None]
"""Takes the headers or trailers to change, the stream, and what formats may ask for: its request and response."""


def compile_header_mutations(
    protos: Iterable[Any], path: str, server: Any, added: CommandTable | None = None
) -> tuple[MutateHeaders, ...]:
    """Compile a repeated field; `path` is that of the field, `added` are commands of formatters.

    Raises:
        ConfigError: a header that may not be touched, a wrong format or pattern.
    """
    return tuple(_mutation(each, server, f"{path}[{at}]", added) for at, each in enumerate(protos))


def _mutation(proto: Any, server: Any, path: str, added: CommandTable | None) -> MutateHeaders:
    kind = proto.WhichOneof("action")
    if kind == "remove_on_match":
        matches = compile_string_matcher(proto.remove_on_match.key_matcher, f"{path}.remove_on_match.key_matcher")

        def remove_matching(
            headers: HeaderMap, stream: StreamInfo, request: RequestHeaderMap | None, response: ResponseHeaderMap | None
        ) -> None:
            for name in {item[0] for item in headers.entries if matches(item[0])}:
                headers.remove(name)

        return remove_matching
    additions = [proto.append] if kind == "append" else []
    parser = HeaderParser.from_proto(additions, [proto.remove] if kind == "remove" else [], path, server, added)
    if parser is None:
        raise ConfigError("a mutation says what to append or to remove", path)
    return parser.evaluate
