"""Changes that an authorization server makes to a request, and to the response.

Envoy: the part of `Extensions::HttpFilters::ExtAuthz::Filter::onComplete` that does it, and `encodeHeaders`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry, is_valid_value, suspect
from .....http.query_parameters import parse_query, replace_query
from ...common.mutation_rules import CheckResult, Operation, is_removable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...common.ext_authz.response import Header, Response
    from .filter_config import ExtAuthzConfig

_is_valid_name = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# An escape is none of them: who validates lets no parameter through that needs one.
_is_url_encoded = re.compile(rb"[A-Za-z0-9*\-._]*").fullmatch
_PSEUDO: Final = {
    b":path": "path",
    b":method": "method",
    b":scheme": "scheme",
    b":authority": "authority",
    b"host": "authority",
}


class InvalidMutationError(Exception):
    """Raised and caught here and in the filter: the server asks for what it may not."""


def all_valid(headers: Iterable[Header]) -> bool:
    return all(_is_valid_name(name) and is_valid_value(value) for name, value in headers)


def set_header(headers: RequestHeaderMap, name: bytes, value: bytes) -> None:
    """In the place of those of that name, at the end; pseudo-headers where they are."""
    if name in _PSEUDO:
        setattr(headers, _PSEUDO[name], value)
    elif name[:1] != b":":
        headers.remove(name)
        headers.add_entry(suspect(entry(name, value)))


def add_header(headers: RequestHeaderMap, name: bytes, value: bytes) -> None:
    if name in _PSEUDO:
        setattr(headers, _PSEUDO[name], getattr(headers, _PSEUDO[name]) + b"," + value)
    elif name[:1] != b":":
        headers.append_entry(suspect(entry(name, value)))


def append_header(headers: RequestHeaderMap, name: bytes, value: bytes) -> None:
    """To the value of the first of that name; if there is none, nothing is done."""
    if name in _PSEUDO:
        add_header(headers, name, value)
        return
    for at, item in enumerate(headers.entries):
        if item[0] == name:
            longer = headers.entries[at] = suspect(entry(name, item[1] + b"," + value))
            headers.seen |= longer[3]
            return


def change_request(headers: RequestHeaderMap, response: Response, config: ExtAuthzConfig) -> None:
    """Raises InvalidMutationError; what has been changed before stays so."""
    for operation, wanted, change in (
        (Operation.SET, response.headers_to_set, set_header),
        (Operation.SET, response.headers_to_add, add_header),
        (Operation.APPEND, response.headers_to_append, append_header),
    ):
        for name, value in wanted:
            if config.validate_mutations and not (_is_valid_name(name) and is_valid_value(value)):
                raise InvalidMutationError
            lower = name.lower()
            if _allows(config, operation, lower, value):
                change(headers, lower, value)
    for name in response.headers_to_remove:
        if config.validate_mutations and not _is_valid_name(name):
            continue
        lower = name.lower()
        if config.mutation_rules is None and not is_removable(lower):
            continue
        if _allows(config, Operation.REMOVE, lower, b""):
            headers.remove(lower)


def _allows(config: ExtAuthzConfig, operation: Operation, name: bytes, value: bytes) -> bool:
    if config.mutation_rules is None:
        return True
    result = config.mutation_rules.check(operation, name, value)
    if result is CheckResult.FAIL:
        raise InvalidMutationError
    return result is CheckResult.OK


def change_query(headers: RequestHeaderMap, response: Response, config: ExtAuthzConfig) -> None:
    """Raises InvalidMutationError."""
    if not response.query_parameters_to_set and not response.query_parameters_to_remove:
        return
    parameters = parse_query(headers.path)
    for name, value in response.query_parameters_to_set:
        if config.validate_mutations and not (_is_url_encoded(name) and _is_url_encoded(value)):
            raise InvalidMutationError
        parameters[name] = [value]
    for name in response.query_parameters_to_remove:
        parameters.pop(name, None)
    headers.path = replace_query(headers.path, parameters)


class ResponseChanges:
    """What the response to an allowed request is to have, too."""

    __slots__ = ("_absent", "_add", "_existing", "_set")

    def __init__(self, response: Response) -> None:
        self._add = _lower(response.response_headers_to_add)
        self._set = _lower(response.response_headers_to_set)
        self._absent = _lower(response.response_headers_to_add_if_absent)
        self._existing = _lower(response.response_headers_to_overwrite_if_exists)

    def apply(self, headers: ResponseHeaderMap, limit: int) -> bool:
        """`limit` is how many headers there may be, 0 for any number; False if there would be more."""
        for name, value in self._add:
            if _is_full(headers, limit):
                return False
            headers.append_entry(entry(name, value))
        for name, value in self._set:
            if not headers.has(name) and _is_full(headers, limit):
                return False
            _replace(headers, name, value)
        for name, value in self._absent:
            if not headers.has(name):
                if _is_full(headers, limit):
                    return False
                headers.add(name, value)
        for name, value in self._existing:
            if headers.has(name):
                _replace(headers, name, value)
        return True


def take_over(headers: ResponseHeaderMap, wanted: Iterable[Header]) -> None:
    """Into a local reply, in the place of what it has by the same names."""
    pairs = _lower(wanted)
    for name, _ in pairs:
        headers.remove(name)
    for name, value in pairs:
        headers.append_entry(entry(name, value))


def _lower(headers: Iterable[Header]) -> list[Header]:
    return [(lower, value) for name, value in headers if (lower := name.lower())[:1] != b":"]


def _is_full(headers: HeaderMap, limit: int) -> bool:
    # The status is one of them.
    return bool(limit) and len(headers.entries) + 1 >= limit


def _replace(headers: ResponseHeaderMap, name: bytes, value: bytes) -> None:
    headers.remove(name)
    headers.add(name, value)
