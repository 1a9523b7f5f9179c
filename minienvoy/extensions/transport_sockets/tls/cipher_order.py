"""Cipher suites of equal preference: of those that the server likes as well, a client's order decides.

Envoy: the cipher suites of BoringSSL, `[A|B]` in `TlsParameters.cipher_suites`; Envoy's own default is made of such.

OpenSSL has either the server's order or the client's. So there is a context for each order that comes up, and the
ClientHello says which one it is.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import cache
from typing import Final

_MOST_ORDERS: Final = 16
"""Strangers choose: what is beyond has the first order."""
_MOST_CLIENTS: Final = 64
"""Kinds of clients whose order is kept; others' is found each time."""


@cache
def cipher_numbers() -> dict[str, int]:
    """Of the suites before TLS 1.3, as they are on the wire."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return {each["name"]: each["id"] & 0xFFFF for each in context.get_ciphers()}


class CipherOrder:
    """Of one context.

    Attributes:
        first: the order for clients that do not mind.
        depends: there are clients that may choose.
    """

    def __init__(self, groups: Sequence[Sequence[str]]) -> None:
        known = cipher_numbers()
        self.first: tuple[str, ...] = tuple(name for group in groups for name in group)
        self._groups = [[(name, known.get(name, -1)) for name in group] for group in groups]
        self._met = {self.first}
        self._found: dict[tuple[int, ...], tuple[str, ...]] = {}
        self.depends = any(len(group) > 1 for group in groups)

    def of_client(self, offered: tuple[int, ...]) -> tuple[str, ...]:
        """For the client with these suites in its ClientHello."""
        found = self._found.get(offered)
        if found is None:
            found = self._order(offered)
            if len(self._found) < _MOST_CLIENTS:
                self._found[offered] = found
        return found

    def _order(self, offered: tuple[int, ...]) -> tuple[str, ...]:
        places = {number: at for at, number in reversed(list(enumerate(offered)))}
        last = len(offered)
        order: list[str] = []
        for group in self._groups:
            if len(group) == 1:
                order.append(group[0][0])
            else:
                order += [name for name, _ in sorted(group, key=lambda each: places.get(each[1], last))]
        found = tuple(order)
        if found not in self._met:
            if len(self._met) >= _MOST_ORDERS:
                return self.first
            self._met.add(found)
        return found
