"""Which headers somebody else may change, and to what.

Envoy: `Filters::Common::MutationRules::Checker`; `envoy.config.common.mutation_rules.v3.HeaderMutationRules`. Without
rules only those are out of bounds by which a request is routed, and Envoy's own.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final

from ....config.fields import honours
from ....http.header_map import is_valid_value
from ....matchers.regex import compile_regex
from ....record import record

TYPE: Final = "envoy.config.common.mutation_rules.v3.HeaderMutationRules"

honours(
    TYPE,
    "allow_all_routing",
    "allow_envoy",
    "disallow_system",
    "disallow_all",
    "allow_expression",
    "disallow_expression",
    "disallow_is_error",
)

ROUTING: Final = frozenset((b"host", b":authority", b":method", b":scheme"))
FIRST_FINAL_STATUS: Final = 200
_is_authority = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@%\[\]]*").fullmatch


class Operation(Enum):
    SET = 1
    APPEND = 2
    REMOVE = 3


class CheckResult(Enum):
    OK = 1
    IGNORE = 2
    """The change is not made, and nothing more happens."""
    FAIL = 3
    """Whoever wants the change has made a mistake."""


def is_removable(name: bytes) -> bool:
    """Without these there is no request (`HeaderUtility::isRemovableHeader`)."""
    return name[:1] != b":" and name.lower() != b"host"


@record
class MutationRules:
    """Compiled; expressions are None where there are none."""

    allow_all_routing: bool
    allow_envoy: bool
    disallow_system: bool
    disallow_all: bool
    allow: Any
    disallow: Any
    refused: CheckResult

    @classmethod
    def from_proto(cls, proto: Any, path: str) -> MutationRules:
        """Raises ConfigError: a wrong regular expression."""

        def expression(name: str) -> Any:
            if not proto.HasField(name):
                return None
            return compile_regex(getattr(proto, name), f"{path}.{name}").full_match

        return cls(
            proto.allow_all_routing.value,
            proto.allow_envoy.value,
            proto.disallow_system.value,
            proto.disallow_all.value,
            expression("allow_expression"),
            expression("disallow_expression"),
            CheckResult.FAIL if proto.disallow_is_error.value else CheckResult.IGNORE,
        )

    def check(self, operation: Operation, name: bytes, value: bytes = b"") -> CheckResult:
        """`name` in lower case."""
        if self._allows(operation, name) and (operation is Operation.REMOVE or _is_valid(name, value)):
            return CheckResult.OK
        return self.refused

    def _allows(self, operation: Operation, name: bytes) -> bool:
        if operation is Operation.REMOVE and not is_removable(name):
            return False
        if self.disallow is not None and self.disallow(name):
            return False
        if self.allow is not None and self.allow(name):
            return True
        if self.disallow_all or (not self.allow_all_routing and name in ROUTING):
            return False
        if name[:1] == b":" and (operation is Operation.APPEND or self.disallow_system):
            return False
        return self.allow_envoy or not name.startswith(b"x-envoy")


def _is_valid(name: bytes, value: bytes) -> bool:
    if name[:1] != b":" and not is_valid_value(value):
        return False
    if name in (b"host", b":authority"):
        return _is_authority(value) is not None
    if name == b":scheme":
        return value.lower() in (b"http", b"https")
    if name == b":status":
        return value.isdigit() and int(value) >= FIRST_FINAL_STATUS
    return True
