"""Trees of matchers: from what is known of a request or a connection to an action.

Envoy: `Matcher::MatchTreeFactory`, `ListMatcher`, `ExactMapMatcher`, `PrefixMapMatcher`, `FieldMatcher`; docs "Matching
API". The API has the tree twice, as `xds.type.matcher.v3.Matcher` and as `envoy.config.common.matcher.v3.Matcher`.

Whoever uses a tree says which inputs there are and what an action is (`MatchContext`). A tree is compiled to functions
of the data. An input that has nothing to give yet makes the tree answer `INSUFFICIENT`: ask again when more has come.
A branch that leads nowhere, or is told to `keep_matching`, is left again, and the next one is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..config.extension import create_extension, find_extension
from ..config.fields import honours
from ..errors import ConfigError
from ..record import record
from ..registry import Registry
from .string import compile_string_matcher

for _matcher, _extension in (
    ("xds.type.matcher.v3.Matcher", "xds.core.v3.TypedExtensionConfig"),
    ("envoy.config.common.matcher.v3.Matcher", "envoy.config.core.v3.TypedExtensionConfig"),
):
    honours(_extension, "name", "typed_config")
    honours(_matcher, "matcher_list", "matcher_tree", "on_no_match")
    honours(f"{_matcher}.OnMatch", "matcher", "action", "keep_matching")
    honours(f"{_matcher}.MatcherList", "matchers")
    honours(f"{_matcher}.MatcherList.FieldMatcher", "predicate", "on_match")
    honours(f"{_matcher}.MatcherList.Predicate", "single_predicate", "or_matcher", "and_matcher", "not_matcher")
    honours(f"{_matcher}.MatcherList.Predicate.PredicateList", "predicate")
    honours(f"{_matcher}.MatcherList.Predicate.SinglePredicate", "input", "value_match", "custom_match")
    honours(f"{_matcher}.MatcherTree", "input", "exact_match_map", "prefix_match_map", "custom_match")
    honours(f"{_matcher}.MatcherTree.MatchMap", "map")


class _Sentinel:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


NOT_AVAILABLE: Final = _Sentinel("NOT_AVAILABLE")
"""What an input gives that has to wait; None is for what there is not."""
INSUFFICIENT: Final = _Sentinel("INSUFFICIENT")
"""What a tree answers that has to wait; None is for no match."""

MatchInput = Callable[[Any], Any]
"""Takes the data; gives bytes, or whatever a custom matcher knows what to do with, or None, or `NOT_AVAILABLE`."""
Predicate = Callable[[Any], "bool | None"]
"""Takes the data; None if it has to wait."""
Step = Callable[[Any], Any]
"""Takes the data; gives the action, None or `INSUFFICIENT`."""
Candidates = Callable[[Any], Sequence[Step]]
"""The branches for a value of an input, the best first."""

InputRegistry = Registry[Callable[[Any, Any], MatchInput]]
"""`factory(config, server)`"""
CandidatesRegistry = Registry[Callable[[Any, Callable[[Any, str], Step]], Candidates]]
"""`factory(config, compile_on_match)`, where `compile_on_match` takes an `OnMatch` and its path below the config."""

COMMON_INPUTS: InputRegistry = Registry("envoy.matching.common_inputs")
"""They need no data."""
INPUT_MATCHERS: Registry[Callable[[Any, Any], Callable[[Any], bool]]] = Registry("envoy.matching.input_matchers")
"""`factory(config, server)` makes a test of an input's value, which may be None."""


@record
class MatchContext:
    """Where a tree stands.

    Attributes:
        inputs: those that can read the data.
        custom_matchers: what `matcher_tree.custom_match` may be.
        compile_action: takes an action's `TypedExtensionConfig` and its path; what it makes is what a match gives.
        server: for extensions.
        check_input: takes the type of an input and its path, and may raise ConfigError.
        keeps_matching: `keep_matching` has a meaning there.
    """

    inputs: InputRegistry
    custom_matchers: CandidatesRegistry
    compile_action: Callable[[Any, str], Any]
    server: Any = None
    check_input: Callable[[str, str], None] = lambda kind, path: None
    keeps_matching: bool = False


def compile_match_tree(proto: Any, path: str, context: MatchContext) -> Step:
    """Compile a tree; the result takes the data and gives an action, None or `INSUFFICIENT`.

    Raises:
        ConfigError: below `path`: an extension that is not known or refuses its settings.
    """
    kind = proto.WhichOneof("matcher_type")
    otherwise: Step = _nothing
    if proto.HasField("on_no_match"):
        otherwise = _on_match(proto.on_no_match, f"{path}.on_no_match", context)
    if kind == "matcher_list":
        return _list(proto.matcher_list, f"{path}.matcher_list", otherwise, context)
    if kind == "matcher_tree":
        return _tree(proto.matcher_tree, f"{path}.matcher_tree", otherwise, context)
    return otherwise


def _nothing(data: Any) -> None:
    return None


def _on_match(proto: Any, path: str, context: MatchContext) -> Step:
    if proto.WhichOneof("on_match") == "matcher":
        step = compile_match_tree(proto.matcher, f"{path}.matcher", context)
    else:
        action = context.compile_action(proto.action, f"{path}.action")

        def step(data: Any) -> Any:
            return action

    if not proto.keep_matching:
        return step
    if not context.keeps_matching:
        raise ConfigError("keep_matching is not supported in this context", f"{path}.keep_matching")

    def keep_matching(data: Any) -> Any:
        return INSUFFICIENT if step(data) is INSUFFICIENT else None

    return keep_matching


def _list(proto: Any, path: str, otherwise: Step, context: MatchContext) -> Step:
    fields = []
    for at, each in enumerate(proto.matchers):
        here = f"{path}.matchers[{at}]"
        predicate = _predicate(each.predicate, f"{here}.predicate", context)
        fields.append((predicate, _on_match(each.on_match, f"{here}.on_match", context)))

    def match(data: Any) -> Any:
        for predicate, step in fields:
            holds = predicate(data)
            if holds is None:
                return INSUFFICIENT
            if holds:
                found = step(data)
                if found is not None:
                    return found
        return otherwise(data)

    return match


def _tree(proto: Any, path: str, otherwise: Step, context: MatchContext) -> Step:
    read = _input(proto.input, f"{path}.input", context)
    kind = proto.WhichOneof("tree_type")
    if kind == "custom_match":
        here = f"{path}.custom_match"
        entry = find_extension(context.custom_matchers, proto.custom_match, here)

        def below(on_match: Any, place: str) -> Step:
            return _on_match(on_match, f"{here}.typed_config.{place}", context)

        candidates = create_extension(entry, proto.custom_match, here, below)
    else:
        steps = {
            key.encode(): _on_match(each, f"{path}.{kind}.map[{key}]", context)
            for key, each in sorted(getattr(proto, kind).map.items())
        }
        candidates = _exactly(steps) if kind == "exact_match_map" else _by_prefix(steps)

    def match(data: Any) -> Any:
        value = read(data)
        if value is NOT_AVAILABLE:
            return INSUFFICIENT
        if value is not None:
            for step in candidates(value):
                found = step(data)
                if found is not None:
                    return found
        return otherwise(data)

    return match


def _exactly(steps: dict[bytes, Step]) -> Candidates:
    found = {key: (step,) for key, step in steps.items()}
    return lambda value: found.get(value, ())


def _by_prefix(steps: dict[bytes, Step]) -> Candidates:
    lengths = sorted({len(key) for key in steps}, reverse=True)

    def candidates(value: bytes) -> list[Step]:
        # Only a key as long as what is left of the value can be found, so none is found twice.
        prefixes = (value[:length] for length in lengths if length <= len(value))
        return [steps[prefix] for prefix in prefixes if prefix in steps]

    return candidates


def _predicate(proto: Any, path: str, context: MatchContext) -> Predicate:
    kind = proto.WhichOneof("match_type")
    if kind == "single_predicate":
        return _single(proto.single_predicate, f"{path}.single_predicate", context)
    if kind == "not_matcher":
        inner = _predicate(proto.not_matcher, f"{path}.not_matcher", context)

        def negated(data: Any) -> bool | None:
            holds = inner(data)
            return None if holds is None else not holds

        return negated
    several = [
        _predicate(each, f"{path}.{kind}.predicate[{at}]", context)
        for at, each in enumerate(getattr(proto, kind).predicate)
    ]
    return _any_of(several) if kind == "or_matcher" else _all_of(several)


def _any_of(several: Sequence[Predicate]) -> Predicate:
    def holds(data: Any) -> bool | None:
        result: bool | None = False
        for each in several:
            one = each(data)
            if one:
                return True
            if one is None:
                result = None
        return result

    return holds


def _all_of(several: Sequence[Predicate]) -> Predicate:
    def holds(data: Any) -> bool | None:
        for each in several:
            one = each(data)
            if not one:
                return one
        return True

    return holds


def _single(proto: Any, path: str, context: MatchContext) -> Predicate:
    read = _input(proto.input, f"{path}.input", context)
    if proto.WhichOneof("matcher") == "value_match":
        test = _of_bytes(compile_string_matcher(proto.value_match, f"{path}.value_match"))
    else:
        here = f"{path}.custom_match"
        entry = find_extension(INPUT_MATCHERS, proto.custom_match, here)
        test = create_extension(entry, proto.custom_match, here, context.server)

    def holds(data: Any) -> bool | None:
        value = read(data)
        return None if value is NOT_AVAILABLE else test(value)

    return holds


def _of_bytes(matches: Callable[[bytes], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, bytes) and matches(value)


def _input(proto: Any, path: str, context: MatchContext) -> MatchInput:
    try:
        entry = find_extension(context.inputs, proto, path)
    except ConfigError as error:
        try:
            entry = find_extension(COMMON_INPUTS, proto, path)
        except ConfigError:
            raise error from None
    else:
        context.check_input(proto.typed_config.type_url, f"{path}.typed_config")
    return create_extension(entry, proto, path, context.server)
