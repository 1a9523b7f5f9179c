"""Where requests have their tokens.

Envoy: `Extensions::HttpFilters::JwtAuthn::ExtractorImpl`. Without a word of a provider, that is `authorization` behind
`Bearer `, and the parameter `access_token`. An issuer may be believed only where its own provider looks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from .....config.fields import honours
from .....http.header_map import RequestHeaderMap
from .....http.query_parameters import parse_query, replace_query
from .....matchers.cookie import parse_cookies

honours("envoy.extensions.filters.http.jwt_authn.v3.JwtHeader", "name", "value_prefix")

_FIRST_OF_TOKEN: Final = re.compile(rb"[A-Za-z0-9_.-]")
_DEFAULT_HEADER: Final = (b"authorization", b"Bearer ")
_DEFAULT_PARAMETER: Final = b"access_token"


class Found:
    """A token.

    Attributes:
        issuers: that it may be of, the empty one for all.
        remove: takes it out of the request.
    """

    __slots__ = ("issuers", "remove", "text")

    def __init__(self, text: bytes, issuers: frozenset[str], remove: Callable[[RequestHeaderMap], None]) -> None:
        self.text = text
        self.issuers = issuers
        self.remove = remove

    def is_issuer_allowed(self, issuer: str) -> bool:
        return "" in self.issuers or issuer in self.issuers


class Extractor:
    """Of one provider, or of several together."""

    __slots__ = ("_cookies", "_headers", "_parameters")

    def __init__(self, providers: Iterable[Any]) -> None:
        headers: dict[tuple[bytes, bytes], set[str]] = {}
        parameters: dict[bytes, set[str]] = {}
        cookies: dict[bytes, set[str]] = {}
        for proto in providers:
            issuer: str = proto.issuer
            for header in proto.from_headers:
                key = (header.name.lower().encode(), header.value_prefix.encode())
                headers.setdefault(key, set()).add(issuer)
            for parameter in proto.from_params:
                parameters.setdefault(parameter.encode(), set()).add(issuer)
            for cookie in proto.from_cookies:
                cookies.setdefault(cookie.encode(), set()).add(issuer)
            if not (proto.from_headers or proto.from_params or proto.from_cookies):
                headers.setdefault(_DEFAULT_HEADER, set()).add(issuer)
                parameters.setdefault(_DEFAULT_PARAMETER, set()).add(issuer)
        in_order = sorted(headers.items(), key=lambda item: item[0][0] + item[0][1])
        self._headers = tuple(
            (name, prefix, frozenset(issuers), _header_remover(name)) for (name, prefix), issuers in in_order
        )
        self._parameters = tuple(
            (name, frozenset(issuers), _parameter_remover(name)) for name, issuers in sorted(parameters.items())
        )
        self._cookies = tuple((name, frozenset(issuers)) for name, issuers in sorted(cookies.items()))

    def extract(self, headers: RequestHeaderMap) -> list[Found]:
        found = []
        for name, prefix, issuers, remove in self._headers:
            for value in headers.get_all(name):
                if prefix:
                    at = value.find(prefix)
                    if at < 0:
                        continue
                    start = _FIRST_OF_TOKEN.search(value, at + len(prefix))
                    value = value[start.start() :] if start else value
                found.append(Found(value, issuers, remove))
        if self._parameters and b"?" in headers.path:
            parameters = parse_query(headers.path, decode=True)
            for name, issuers, remove in self._parameters:
                if name in parameters:
                    found.append(Found(parameters[name][0], issuers, remove))
        if self._cookies:
            cookies = parse_cookies(headers.get_all(b"cookie"))
            for name, issuers in self._cookies:
                if name in cookies:
                    # Envoy leaves the cookie as it is.
                    found.append(Found(cookies[name], issuers, _leave))
        return found


def _leave(headers: RequestHeaderMap) -> None:
    pass


def _header_remover(name: bytes) -> Callable[[RequestHeaderMap], None]:
    def remove(headers: RequestHeaderMap) -> None:
        headers.remove(name)

    return remove


def _parameter_remover(name: bytes) -> Callable[[RequestHeaderMap], None]:
    """The other parameters are put back decoded, as in Envoy."""

    def remove(headers: RequestHeaderMap) -> None:
        parameters = parse_query(headers.path, decode=True)
        parameters.pop(name, None)
        headers.put_path(replace_query(headers.path, parameters))

    return remove
