"""`envoy.internal_redirect_predicates.allow_listed_routes`: only to routes that are named.

Envoy: `source/extensions/internal_redirect/allow_listed_routes/allow_listed_routes.h`.
"""

from __future__ import annotations

from typing import Any

from ...config.fields import honours
from ...router.internal_redirect import REDIRECT_PREDICATES, RedirectPredicate

CONFIG_TYPE = "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig"

honours(CONFIG_TYPE, "allowed_route_names")


@REDIRECT_PREDICATES.register("envoy.internal_redirect_predicates.allow_listed_routes", CONFIG_TYPE)
def create_allow_listed_routes(config: Any, current_route: str) -> RedirectPredicate:
    allowed = frozenset(config.allowed_route_names)
    return lambda target: target.route_name in allowed
