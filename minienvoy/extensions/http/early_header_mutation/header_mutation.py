"""Adds, overwrites and removes headers of a request, one after the other.

Envoy: `envoy.http.early_header_mutation.header_mutation`
(`source/extensions/http/early_header_mutation/header_mutation`).
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....http.early_header_mutation import EARLY_HEADER_MUTATION, Mutate
from ....http.header_map import RequestHeaderMap
from ....router.header_mutations import compile_header_mutations
from ....stream_info import StreamInfo

CONFIG_TYPE: Final = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"

honours(CONFIG_TYPE, "mutations")


@EARLY_HEADER_MUTATION.register("envoy.http.early_header_mutation.header_mutation", CONFIG_TYPE)
def create_header_mutation(config: Any, server: Any) -> Mutate:
    """Raises ConfigError for a header that may not be touched, and for a wrong format or pattern."""
    steps = compile_header_mutations(config.mutations, "mutations", server)

    def mutate(headers: RequestHeaderMap, stream: StreamInfo) -> None:
        for step in steps:
            step(headers, stream, headers, None)

    return mutate
