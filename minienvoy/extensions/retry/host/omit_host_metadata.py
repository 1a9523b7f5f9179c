"""`envoy.retry_host_predicates.omit_host_metadata`: a retry does not go to hosts with certain metadata.

Envoy: `source/extensions/retry/host/omit_host_metadata`. All keys and values that the configuration has in `envoy.lb`
have to be those of the host; if it has none, no host is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ....config.fields import honours
from ....router.retry_policy import RETRY_HOST_PREDICATES, RetryHostPredicate
from ....upstream.host import Host
from ....upstream.load_assignment import plain_metadata

CONFIG_TYPE: Final = "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig"

honours(CONFIG_TYPE, whole=("metadata_match",))


class OmitHostMetadata:
    """Remembers nothing, so one is enough for all requests."""

    __slots__ = ("_match",)

    def __init__(self, match: Mapping[str, Any]) -> None:
        self._match = match

    def should_select_another_host(self, host: Host) -> bool:
        if not self._match:
            return False
        metadata = host.metadata.get("envoy.lb", {})
        return all(key in metadata and metadata[key] == value for key, value in self._match.items())

    def on_host_attempted(self, host: Host) -> None:
        """What was tried makes no difference."""


@RETRY_HOST_PREDICATES.register("envoy.retry_host_predicates.omit_host_metadata", CONFIG_TYPE)
def create_omit_host_metadata(config: Any) -> Callable[[], RetryHostPredicate]:
    made = OmitHostMetadata(plain_metadata(config.metadata_match).get("envoy.lb", {}))
    return lambda: made
