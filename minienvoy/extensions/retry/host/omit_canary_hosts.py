"""`envoy.retry_host_predicates.omit_canary_hosts`: a retry does not go to a canary.

Envoy: `source/extensions/retry/host/omit_canary_hosts`. A canary says so in its metadata: `envoy.lb`, key `canary`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ....config.fields import honours
from ....router.retry_policy import RETRY_HOST_PREDICATES, RetryHostPredicate
from ....upstream.host import Host

CONFIG_TYPE: Final = "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"

honours(CONFIG_TYPE)


class OmitCanaryHosts:
    """Remembers nothing, so one is enough for all requests."""

    def should_select_another_host(self, host: Host) -> bool:
        return host.canary

    def on_host_attempted(self, host: Host) -> None:
        """What was tried makes no difference."""


_OMIT: Final = OmitCanaryHosts()


@RETRY_HOST_PREDICATES.register("envoy.retry_host_predicates.omit_canary_hosts", CONFIG_TYPE)
def create_omit_canary_hosts(config: Any) -> Callable[[], RetryHostPredicate]:
    return lambda: _OMIT
