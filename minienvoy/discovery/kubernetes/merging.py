"""From the results of many slices to one set of hosts, without doing it all again for each change.

No Envoy counterpart. An address and port that several slices tell of is one host: see `results.rank`. Usually there is
no such thing, and a few of a thousand slices have changed: then only these are looked at.
"""

from __future__ import annotations

from collections.abc import KeysView, Sequence

from .mapped import HostKey, MappedEndpoint
from .results import Result, duplicate, rank

Merged = tuple[dict[HostKey, MappedEndpoint], list[MappedEndpoint], KeysView[HostKey] | None]
"""(hosts, endpoints that another stands for, the keys that are not as they were before, in the order of their sources;
None if all may be others)"""


class Merger:
    def __init__(self) -> None:
        self._last: Sequence[Result] = ()
        self._hosts: dict[HostKey, MappedEndpoint] = {}
        self._clean = False
        """No two results had the same host."""

    def merge(self, results: Sequence[Result]) -> Merged:
        """The dict is not changed any more once it has been given out."""
        changed = self._changes(results)
        if changed is None:
            self._hosts, duplicates = merge(results)
            self._clean = not duplicates
        else:
            duplicates = []
        self._last = results
        return self._hosts, duplicates, changed

    def _changes(self, results: Sequence[Result]) -> KeysView[HostKey] | None:
        if not self._clean or len(results) != len(self._last):
            return None
        pairs = [(old, new) for old, new in zip(self._last, results, strict=True) if old is not new]
        if len(pairs) > len(results) // 2:
            return None
        hosts = dict(self._hosts)
        changed: dict[HostKey, None] = {}
        for old, new in pairs:
            for key in old.used:
                if key not in new.used:
                    hosts.pop(key, None)
                    changed[key] = None
        for old, new in pairs:
            for key, each in new.used.items():
                if key not in old.used and key in hosts:
                    return None
                if hosts.get(key) != each:
                    changed[key] = None
                hosts[key] = each
        self._hosts = hosts
        return changed.keys()


def merge(results: Sequence[Result]) -> tuple[dict[HostKey, MappedEndpoint], list[MappedEndpoint]]:
    """(hosts, endpoints that another stands for)"""
    hosts: dict[HostKey, MappedEndpoint] = {}
    duplicates: list[MappedEndpoint] = []
    for result in results:
        if hosts.keys().isdisjoint(result.used):
            hosts.update(result.used)
            continue
        for key, each in result.used.items():
            other = hosts.get(key)
            if other is None:
                hosts[key] = each
            elif rank(each) > rank(other):
                hosts[key] = each
                duplicates.append(duplicate(other, each))
            else:
                duplicates.append(duplicate(each, other))
    return hosts, duplicates
