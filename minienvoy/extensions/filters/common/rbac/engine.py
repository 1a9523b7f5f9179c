"""Who may: rules or a match tree, and what they say of a request or a connection.

Envoy: `Filters::Common::RBAC::RoleBasedAccessControlEngineImpl`, `RoleBasedAccessControlMatcherEngineImpl`,
`createEngine`, `createShadowEngine`; docs "Role Based Access Control". Policies are looked at in the order of their
names, the first one that matches is the one that is told. `LOG` lets everybody in, and leaves a hint for access logs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from .....config.api import unpack
from .....config.fields import forbids, honours
from .....errors import ConfigError
from .....http.header_map import RequestHeaderMap
from .....http.matching import HTTP_CUSTOM_MATCHERS, HTTP_INPUTS, HttpMatchingData
from .....matchers.match_tree import INSUFFICIENT, MatchContext, compile_match_tree
from .....stream_info import ConnectionInfo, StreamInfo
from .rules import Rule, compile_permissions, compile_principals

ACTION_TYPE: Final = "envoy.config.rbac.v3.Action"
RULES_TYPE: Final = "envoy.config.rbac.v3.RBAC"
ALLOW, DENY, LOG = 0, 1, 2

honours(
    RULES_TYPE,
    "action",
    "policies",
    ignored={"audit_logging_options": "Envoy does not look at it either"},
)
honours(ACTION_TYPE, "name", "action")
honours("envoy.config.rbac.v3.Policy", "permissions", "principals")


@forbids(RULES_TYPE)
def _no_stdout(proto: Any, path: str) -> None:
    for at, each in enumerate(proto.audit_logging_options.logger_configs):
        if each.audit_logger.typed_config.type_url.endswith(".StdoutAuditLog"):
            where = f"{path}.audit_logging_options.logger_configs[{at}].audit_logger.typed_config"
            raise ConfigError("Envoy does not know this type either", where)


class Verdict(NamedTuple):
    """`policy` is the one that decided, None if none did; `hint` is what access logs are told, None for nothing."""

    allowed: bool
    policy: str | None
    hint: bool | None = None


class Engine(Protocol):
    def judge(self, headers: RequestHeaderMap, stream: StreamInfo, below: ConnectionInfo) -> Verdict: ...


class RulesEngine:
    """`rules`: an action and policies."""

    __slots__ = ("_nobody", "_policies")

    def __init__(self, proto: Any, path: str) -> None:
        """Raises ConfigError: a policy that can not be compiled."""
        action = proto.action
        allowed, hints = action != DENY, action == LOG
        self._nobody = Verdict(action != ALLOW, None, False if hints else None)
        policies: list[tuple[Rule, Rule, Verdict]] = []
        for name in sorted(proto.policies, key=str.encode):
            policy, here = proto.policies[name], f"{path}.policies[{name}]"
            permissions = compile_permissions(policy.permissions, f"{here}.permissions")
            principals = compile_principals(policy.principals, f"{here}.principals")
            policies.append((permissions, principals, Verdict(allowed, name, True if hints else None)))
        self._policies = tuple(policies)

    def judge(self, headers: RequestHeaderMap, stream: StreamInfo, below: ConnectionInfo) -> Verdict:
        for permissions, principals, verdict in self._policies:
            if permissions(headers, stream, below) and principals(headers, stream, below):
                return verdict
        return self._nobody


class _Action(NamedTuple):
    name: str
    action: int


class MatcherEngine:
    """`matcher`: a tree whose actions decide; who is not matched is not let in."""

    __slots__ = ("_match", "_verdicts")

    def __init__(self, proto: Any, path: str, context: MatchContext) -> None:
        """Raises ConfigError: as for every tree."""
        self._verdicts: dict[_Action, Verdict] = {}

        def compile_action(config: Any, where: str) -> _Action:
            where = f"{where}.typed_config"
            kind = config.typed_config.type_url.rpartition("/")[2]
            if kind != ACTION_TYPE:
                problem = f"Didn't find a registered implementation for '{config.name}' with type URL: '{kind}'"
                raise ConfigError(problem, where)
            message = unpack(config.typed_config, where, validate=True)
            action = _Action(message.name, message.action)
            self._verdicts[action] = Verdict(action.action != DENY, action.name)
            return action

        context = MatchContext(
            context.inputs, context.custom_matchers, compile_action, context.server, context.check_input
        )
        try:
            self._match = compile_match_tree(proto, path, context)
        except ConfigError as error:
            if "ValidationError" in error.problem or "registered implementation" in error.problem:
                raise
            problem = f"requirement violation while creating RBAC match tree: INVALID_ARGUMENT: {error.problem}"
            raise ConfigError(problem, error.path) from None
        if any(action.action == LOG for action in self._verdicts):
            # Where something may give a hint, everything that matches gives one.
            self._verdicts = {
                action: verdict._replace(hint=action.action == LOG) for action, verdict in self._verdicts.items()
            }

    def judge(self, headers: RequestHeaderMap, stream: StreamInfo, below: ConnectionInfo) -> Verdict:
        found = self._match(HttpMatchingData(stream, headers))
        return _NOT_MATCHED if found is None or found is INSUFFICIENT else self._verdicts[found]


_NOT_MATCHED: Final = Verdict(False, None)


def compile_engine(proto: Any, path: str, matcher: str, rules: str, tree: MatchContext) -> Engine | None:
    """From the fields of `proto` that are called `matcher` and `rules`; None if neither is set.

    Raises:
        ConfigError: they can not be compiled.
    """
    path = f"{path}." if path else ""
    if proto.HasField(matcher):
        return MatcherEngine(getattr(proto, matcher), f"{path}{matcher}", tree)
    if proto.HasField(rules):
        return RulesEngine(getattr(proto, rules), f"{path}{rules}")
    return None


_COMMON: Final = "envoy.extensions.matching.common_inputs"
_INPUTS: Final = (
    f"{_COMMON}.network.v3.DestinationIPInput",
    f"{_COMMON}.network.v3.DestinationPortInput",
    f"{_COMMON}.network.v3.SourceIPInput",
    f"{_COMMON}.network.v3.SourcePortInput",
    f"{_COMMON}.network.v3.DirectSourceIPInput",
    f"{_COMMON}.network.v3.ServerNameInput",
    f"{_COMMON}.network.v3.FilterStateInput",
    f"{_COMMON}.ssl.v3.UriSanInput",
    f"{_COMMON}.ssl.v3.DnsSanInput",
    f"{_COMMON}.ssl.v3.SubjectInput",
)
_NETWORK_INPUTS: Final = frozenset(_INPUTS)
_HTTP_INPUTS: Final = _NETWORK_INPUTS | {
    f"{_COMMON}.network.v3.DynamicMetadataInput",
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
}


def _check(kinds: frozenset[str], where: str) -> Callable[[str, str], None]:
    def check(kind: str, path: str) -> None:
        if kind.rpartition("/")[2] not in kinds:
            raise ConfigError(f"RBAC {where} filter cannot match on '{kind}'", path)

    return check


def _no_action(config: Any, path: str) -> Any:
    raise AssertionError("the engine compiles actions")


def http_tree(server: Any) -> MatchContext:
    return MatchContext(HTTP_INPUTS, HTTP_CUSTOM_MATCHERS, _no_action, server, _check(_HTTP_INPUTS, "HTTP"))


def network_tree(server: Any) -> MatchContext:
    """Inputs are those of HTTP here, too, as far as they need no request."""
    check = _check(_NETWORK_INPUTS, "network")
    return MatchContext(HTTP_INPUTS, HTTP_CUSTOM_MATCHERS, _no_action, server, check)
