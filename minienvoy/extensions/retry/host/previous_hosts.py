"""`envoy.retry_host_predicates.previous_hosts`: a retry goes to a host that was not tried before.

Envoy: `source/extensions/retry/host/previous_hosts`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ....config.fields import honours
from ....network.address import Address
from ....router.retry_policy import RETRY_HOST_PREDICATES, RetryHostPredicate
from ....upstream.host import Host

CONFIG_TYPE: Final = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"

honours(CONFIG_TYPE)


class PreviousHosts:
    """Goes by address: two endpoints at one address are one host."""

    __slots__ = ("_attempted",)

    def __init__(self) -> None:
        self._attempted: set[Address] = set()

    def should_select_another_host(self, host: Host) -> bool:
        return host.address in self._attempted

    def on_host_attempted(self, host: Host) -> None:
        self._attempted.add(host.address)


@RETRY_HOST_PREDICATES.register("envoy.retry_host_predicates.previous_hosts", CONFIG_TYPE)
def create_previous_hosts(config: Any) -> Callable[[], RetryHostPredicate]:
    return PreviousHosts
