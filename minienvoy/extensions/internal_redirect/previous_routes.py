"""`envoy.internal_redirect_predicates.previous_routes`: never twice from the same route to the same one.

Envoy: `source/extensions/internal_redirect/previous_routes/previous_routes.h`.
"""

from __future__ import annotations

from typing import Any

from ...config.fields import honours
from ...router.internal_redirect import REDIRECT_PREDICATES, RedirectPredicate, RedirectTarget

CONFIG_TYPE = "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig"

honours(CONFIG_TYPE)


@REDIRECT_PREDICATES.register("envoy.internal_redirect_predicates.previous_routes", CONFIG_TYPE)
def create_previous_routes(config: Any, current_route: str) -> RedirectPredicate:
    """Where a request has gone from this route is kept with the request, and lasts through its redirects."""
    key = f"envoy.internal_redirect.previous_routes_predicate_state.{current_route}"

    def accepts(target: RedirectTarget) -> bool:
        seen = target.filter_state.setdefault(key, set())
        if target.route_name in seen:
            return False
        seen.add(target.route_name)
        return True

    return accepts
