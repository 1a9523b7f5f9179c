"""Which origins may read what, as a route, a virtual host or a route configuration says it.

Envoy: `Router::CorsPolicyImplBase`; docs "CORS". The message of the CORS filter and the older one of routes and virtual
hosts have the same fields. What is done with a policy is the filter's affair (extensions/filters/http/cors.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..config.fields import honours
from ..config.runtime import FractionalPercent, Loader, RuntimeFractionalPercent
from ..matchers.regex import BytesPredicate
from ..matchers.string import compile_string_matcher
from ..record import record

FILTER_POLICY: Final = "envoy.extensions.filters.http.cors.v3.CorsPolicy"
ROUTE_POLICY: Final = "envoy.config.route.v3.CorsPolicy"

for _type in (FILTER_POLICY, ROUTE_POLICY):
    honours(
        _type,
        "allow_origin_string_match",
        "allow_methods",
        "allow_headers",
        "expose_headers",
        "max_age",
        "allow_credentials",
        "allow_private_network_access",
        "forward_not_matching_preflights",
        "filter_enabled",
        "shadow_enabled",
    )

ALWAYS: Final = RuntimeFractionalPercent(FractionalPercent(100))
NEVER: Final = RuntimeFractionalPercent()


@record
class CorsPolicy:
    """Of one level. Values of headers are empty, and answers None, where the level above is to say it.

    Attributes:
        origins: whoever one of them matches may.
        any_origin: one of them matches `*`, and that is everybody.
    """

    origins: tuple[BytesPredicate, ...]
    any_origin: bool
    allow_methods: bytes
    allow_headers: bytes
    expose_headers: bytes
    max_age: bytes
    allow_credentials: bool | None
    allow_private_network_access: bool | None
    forward_not_matching_preflights: bool | None
    filter_enabled: RuntimeFractionalPercent
    shadow_enabled: RuntimeFractionalPercent
    runtime: Loader | None
    draw: Callable[[int], int]

    @classmethod
    def from_proto(cls, proto: Any, path: str, server: Any) -> CorsPolicy:
        """Raises ConfigError: a wrong regular expression."""
        origins = tuple(
            compile_string_matcher(each, f"{path}.allow_origin_string_match[{at}]")
            for at, each in enumerate(proto.allow_origin_string_match)
        )
        enabled, shadow = proto.filter_enabled, proto.shadow_enabled
        return cls(
            origins=origins,
            any_origin=any(matches(b"*") for matches in origins),
            allow_methods=proto.allow_methods.encode(),
            allow_headers=proto.allow_headers.encode(),
            expose_headers=proto.expose_headers.encode(),
            max_age=proto.max_age.encode(),
            allow_credentials=_answer(proto, "allow_credentials"),
            allow_private_network_access=_answer(proto, "allow_private_network_access"),
            forward_not_matching_preflights=_answer(proto, "forward_not_matching_preflights"),
            filter_enabled=RuntimeFractionalPercent.from_proto(enabled) if proto.HasField("filter_enabled") else ALWAYS,
            shadow_enabled=RuntimeFractionalPercent.from_proto(shadow) if proto.HasField("shadow_enabled") else NEVER,
            runtime=None if server is None else server.runtime,
            draw=_nothing if server is None else server.random.stream("cors").getrandbits,
        )

    def is_enabled(self) -> bool:
        return self._holds(self.filter_enabled)

    def is_shadow_enabled(self) -> bool:
        return self._holds(self.shadow_enabled)

    def allows(self, origin: bytes) -> bool:
        return self.any_origin or any(matches(origin) for matches in self.origins)

    def _holds(self, fraction: RuntimeFractionalPercent) -> bool:
        if fraction is ALWAYS or fraction is NEVER or self.runtime is None:
            return fraction is ALWAYS
        return self.runtime.snapshot.fraction_enabled(fraction, self.draw(64))


def _answer(proto: Any, field: str) -> bool | None:
    return getattr(proto, field).value if proto.HasField(field) else None


def _nothing(bits: int) -> int:
    return 0
