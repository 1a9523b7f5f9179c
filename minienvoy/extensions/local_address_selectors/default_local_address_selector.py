"""`envoy.upstream.local_address_selector.default_local_address_selector`: by the family of the host.

Envoy: `Upstream::DefaultUpstreamLocalAddressSelectorFactory`. It is what is used if nothing is said; to name it changes
nothing.
"""

from __future__ import annotations

from typing import Any, Final

from ...config.fields import honours
from ...upstream.local_address_selector import LOCAL_ADDRESS_SELECTORS, LocalAddressSelector, UpstreamLocalAddress

CONFIG_TYPE: Final = "envoy.config.upstream.local_address_selector.v3.DefaultLocalAddressSelector"

honours(CONFIG_TYPE)


@LOCAL_ADDRESS_SELECTORS.register("envoy.upstream.local_address_selector.default_local_address_selector", CONFIG_TYPE)
def create_default_local_address_selector(
    config: Any, addresses: tuple[UpstreamLocalAddress, ...]
) -> LocalAddressSelector:
    return LocalAddressSelector(addresses)
