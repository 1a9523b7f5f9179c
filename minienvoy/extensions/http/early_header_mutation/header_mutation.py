"""Adds, overwrites and removes headers of a request, one after the other.

Envoy: `envoy.http.early_header_mutation.header_mutation`, `Http::HeaderMutations`
(`source/extensions/http/early_header_mutation/header_mutation`).
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....http.early_header_mutation import EARLY_HEADER_MUTATION, Mutate
from ....http.header_map import RequestHeaderMap
from ....matchers.string import compile_string_matcher
from ....router.header_parser import HeaderParser
from ....stream_info import StreamInfo

CONFIG_TYPE: Final = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"

honours(CONFIG_TYPE, "mutations")
honours("envoy.config.common.mutation_rules.v3.HeaderMutation", "append", "remove", "remove_on_match")
honours("envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch", "key_matcher")


@EARLY_HEADER_MUTATION.register("envoy.http.early_header_mutation.header_mutation", CONFIG_TYPE)
def create_header_mutation(config: Any, server: Any) -> Mutate:
    """Raises ConfigError for a header that may not be touched, and for a wrong format or pattern."""
    steps = [_step(each, server, f"mutations[{at}]") for at, each in enumerate(config.mutations)]

    def mutate(headers: RequestHeaderMap, stream: StreamInfo) -> None:
        for step in steps:
            step(headers, stream)

    return mutate


def _step(proto: Any, server: Any, path: str) -> Mutate:
    kind = proto.WhichOneof("action")
    if kind == "remove_on_match":
        matches = compile_string_matcher(proto.remove_on_match.key_matcher, f"{path}.remove_on_match.key_matcher")

        def remove_matching(headers: RequestHeaderMap, stream: StreamInfo) -> None:
            for name in {item[0] for item in headers.entries if matches(item[0])}:
                headers.remove(name)

        return remove_matching
    additions = [proto.append] if kind == "append" else []
    parser = HeaderParser.from_proto(additions, [proto.remove] if kind == "remove" else [], path, server)
    if parser is None:
        raise ConfigError("a mutation says what to append or to remove", path)

    def mutate(headers: RequestHeaderMap, stream: StreamInfo) -> None:
        parser.evaluate(headers, stream, headers, None)

    return mutate
