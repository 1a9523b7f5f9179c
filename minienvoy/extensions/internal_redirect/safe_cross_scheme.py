"""`envoy.internal_redirect_predicates.safe_cross_scheme`: not from a plain connection to https.

Envoy: `source/extensions/internal_redirect/safe_cross_scheme/safe_cross_scheme.h`.
"""

from __future__ import annotations

from typing import Any

from ...config.fields import honours
from ...router.internal_redirect import REDIRECT_PREDICATES, RedirectPredicate

CONFIG_TYPE = "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig"

honours(CONFIG_TYPE)


@REDIRECT_PREDICATES.register("envoy.internal_redirect_predicates.safe_cross_scheme", CONFIG_TYPE)
def create_safe_cross_scheme(config: Any, current_route: str) -> RedirectPredicate:
    return lambda target: target.downstream_is_https or not target.is_https
