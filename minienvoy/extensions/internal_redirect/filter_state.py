"""`envoy.internal_redirect_predicates.filter_state`: as a filter has decided for the request.

Envoy: `source/extensions/internal_redirect/filter_state`.
"""

from __future__ import annotations

from typing import Any

from ...config.fields import honours
from ...router.internal_redirect import REDIRECT_PREDICATES, RedirectPredicate, RedirectTarget

CONFIG_TYPE = "envoy.extensions.internal_redirect.filter_state.v3.FilterStateConfig"

honours(CONFIG_TYPE, "redirect_enabled_key", "redirect_if_absent")


@REDIRECT_PREDICATES.register("envoy.internal_redirect_predicates.filter_state", CONFIG_TYPE)
def create_filter_state(config: Any, current_route: str) -> RedirectPredicate:
    key, if_absent = config.redirect_enabled_key, config.redirect_if_absent

    def accepts(target: RedirectTarget) -> bool:
        value = target.filter_state.get(key)
        return value if isinstance(value, bool) else if_absent

    return accepts
