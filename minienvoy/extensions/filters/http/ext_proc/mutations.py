"""Headers as a processor is told of them, and what it wants changed.

Envoy: `Extensions::HttpFilters::ExternalProcessing::MutationUtils`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry, is_valid_name, is_valid_value
from ...common.mutation_rules import CheckResult, MutationRules, Operation

if TYPE_CHECKING:
    from .filter_config import ExtProcStats

_PSEUDO: Final = {b":path": "path", b":method": "method", b":scheme": "scheme", b":authority": "authority"}
_REMOVE_FAILED: Final = "header_mutation_remove_headers_failed"
_SET_FAILED: Final = "header_mutation_set_headers_failed"
_ADD, _ADD_IF_ABSENT, _OVERWRITE_OR_ADD, _OVERWRITE = range(4)  # of `HeaderValueOption.HeaderAppendAction`


class InvalidMutationError(Exception):
    """Raised and caught here and in the filter: the processor asks for what it may not."""


def pairs(headers: HeaderMap) -> Iterator[tuple[bytes, bytes]]:
    """All names and values, in Envoy's order."""
    if isinstance(headers, RequestHeaderMap):
        for name in headers.pseudo_order:
            value = headers.get(name)
            if value:
                yield name, value
    elif isinstance(headers, ResponseHeaderMap):
        yield b":status", b"%d" % headers.status
    for name, value, *_ in headers.entries:
        yield name, value


def fill_headers(proto: Any, headers: HeaderMap, forwards: Callable[[bytes], bool]) -> None:
    """Into an `envoy.config.core.v3.HeaderMap`."""
    for name, value in pairs(headers):
        if forwards(name):
            added = proto.headers.add()
            added.key = name.decode("latin-1")
            added.raw_value = value


def apply_header_mutation(
    mutation: Any, headers: HeaderMap, rules: MutationRules, stats: ExtProcStats, *, replacing: bool = False
) -> None:
    """From an `envoy.service.ext_proc.v3.HeaderMutation`; with `replacing`, the method may be changed whatever `rules`
    say.

    Raises:
        InvalidMutationError: what has been changed before stays so.
    """
    for removed in mutation.remove_headers:
        name = removed.encode().lower()
        if not is_valid_name(name.removeprefix(b":")):
            stats.rejected_header_mutations += 1
            raise InvalidMutationError(_REMOVE_FAILED)
        _checked(rules.check(Operation.REMOVE, name), stats, _REMOVE_FAILED, partial(headers.remove, name))
    for option in mutation.set_headers:
        if option.HasField("header"):
            _set(option, headers, rules, stats, replacing)


def _set(option: Any, headers: HeaderMap, rules: MutationRules, stats: ExtProcStats, replacing: bool) -> None:
    name, value = option.header.key.encode().lower(), option.header.raw_value
    if option.header.value and value:
        stats.rejected_header_mutations += 1
        raise InvalidMutationError(_SET_FAILED)
    if not is_valid_name(name.removeprefix(b":")) or not is_valid_value(value):
        stats.rejected_header_mutations += 1
        raise InvalidMutationError(_SET_FAILED)
    there = _has(headers, name)
    action = option.append_action
    if action == _ADD:
        # It is the default, too: then the older field counts.
        appends = option.append.value
    elif action == _ADD_IF_ABSENT:
        if there:
            return
        appends = True
    else:
        if action == _OVERWRITE and not there:
            return
        appends = False
    operation = Operation.APPEND if appends and there else Operation.SET
    result = rules.check(operation, name, value)
    if replacing and name == b":method":
        result = CheckResult.OK
    _checked(result, stats, _SET_FAILED, lambda: _put(headers, name, value, appends))


def _checked(result: CheckResult, stats: ExtProcStats, failure: str, change: Callable[[], object]) -> None:
    if result is CheckResult.OK:
        change()
        return
    stats.rejected_header_mutations += 1
    if result is CheckResult.FAIL:
        raise InvalidMutationError(failure)


def _has(headers: HeaderMap, name: bytes) -> bool:
    if name in _PSEUDO and isinstance(headers, RequestHeaderMap):
        return bool(getattr(headers, _PSEUDO[name]))
    return (name == b":status" and isinstance(headers, ResponseHeaderMap)) or headers.has(name)


def _put(headers: HeaderMap, name: bytes, value: bytes, appends: bool) -> None:
    if name in (b"host", b":authority") and isinstance(headers, RequestHeaderMap):
        headers.authority = value
    elif name in _PSEUDO and isinstance(headers, RequestHeaderMap):
        setattr(headers, _PSEUDO[name], value)
    elif name == b":status" and isinstance(headers, ResponseHeaderMap):
        headers.status = int(value)
    elif name[:1] != b":":
        if not appends:
            headers.remove(name)
        headers.add_entry(entry(name, value))
