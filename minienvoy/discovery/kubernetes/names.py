"""The addresses of endpoints that are names: ExternalName Services and slices of the type FQDN.

Envoy: `StrictDnsClusterImpl::ResolveTarget`, for a set of names that changes. A name keeps its addresses while DNS does
not answer; one that is known not to exist has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from ...network.dns import DnsLookupFamily, DnsResolver, DnsResponse, ResolutionStatus

if TYPE_CHECKING:
    from ...event.dispatcher import Cancellable, Dispatcher, Timer

REFRESH: Final = 5.0
"""Seconds between two questions, as for Envoy's `STRICT_DNS`; the TTL if that is longer."""


class _Name:
    def __init__(self, name: str, owner: ResolvedNames) -> None:
        self.name = name
        self.addresses: tuple[str, ...] | None = None
        self._owner = owner
        self._query: Cancellable | None = None
        self._timer: Timer = owner.dispatcher.create_timer(self.ask)
        self._stopped = False

    def ask(self) -> None:
        query = self._owner.resolver.resolve(self.name, self._owner.family, self._answered)
        if query is not None and not self._stopped and not self._timer.enabled:
            self._query = query

    def stop(self) -> None:
        self._stopped = True
        self._timer.disable()
        if self._query is not None:
            self._query.cancel()

    def _answered(self, status: ResolutionStatus, details: str, responses: list[DnsResponse]) -> None:
        self._query = None
        if self._stopped:
            return
        shortest = min((each.ttl for each in responses), default=0.0)
        self._timer.enable(max(REFRESH, shortest))
        if status is ResolutionStatus.COMPLETED:
            addresses = tuple(dict.fromkeys(each.host for each in responses))
            if addresses != self.addresses:
                self.addresses = addresses
                self._owner.on_change()
        elif self.addresses is None:
            self.addresses = ()
            self._owner.on_change()


class ResolvedNames:
    """`on_change` is called when the addresses of a name are others."""

    def __init__(
        self, dispatcher: Dispatcher, resolver: DnsResolver, family: DnsLookupFamily, on_change: Callable[[], None]
    ) -> None:
        self.dispatcher = dispatcher
        self.resolver = resolver
        self.family = family
        self.on_change = on_change
        self._names: dict[str, _Name] = {}

    def want(self, names: Iterable[str]) -> None:
        """These and no others."""
        wanted = set(names)
        for name in [name for name in self._names if name not in wanted]:
            self._names.pop(name).stop()
        for name in sorted(wanted - self._names.keys()):
            made = self._names[name] = _Name(name, self)
            made.ask()

    def addresses(self, name: str) -> tuple[str, ...] | None:
        """None while it has not been answered for the first time."""
        known = self._names.get(name)
        return None if known is None else known.addresses

    def stop(self) -> None:
        self.want(())
