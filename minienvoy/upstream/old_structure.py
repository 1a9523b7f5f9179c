"""What serves while the structure that takes its place is being built.

Envoy: workers have the old structure and the old hosts until the main thread posts both. Here the hosts are new
already, and one that has left or fallen ill is not chosen from a structure that still has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from .host import Host

TRIES: Final = 8
"""Of the old structure, until any host will do."""


class HashingLoadBalancer(Protocol):
    """A structure that was built over some hosts."""

    def choose_host(self, hash_: int, attempt: int) -> Host | None: ...


class Builder(Protocol):
    def finish(self) -> None: ...


class OldStructure:
    """`candidates` are those that may be chosen now."""

    __slots__ = ("_candidates", "_structure", "_usable")

    def __init__(self, structure: HashingLoadBalancer, candidates: tuple[Host, ...]) -> None:
        self._structure = structure
        self._candidates = candidates
        self._usable: frozenset[Host] | None = None

    def choose_host(self, hash_: int, attempt: int) -> Host | None:
        candidates = self._candidates
        if not candidates:
            return None
        usable = self._usable
        if usable is None:
            usable = self._usable = frozenset(candidates)
        for further in range(TRIES):
            host = self._structure.choose_host(hash_, attempt + further)
            if host in usable:
                return host
        return candidates[(hash_ + attempt) % len(candidates)]


class Unfinished:
    """Stands for a structure that is built for the first time: a request waits for it, for nothing else can answer."""

    __slots__ = ("_builder", "_built", "_priority")

    def __init__(self, builder: Builder, built: Sequence[HashingLoadBalancer | None], priority: int) -> None:
        self._builder = builder
        self._built = built
        self._priority = priority

    def choose_host(self, hash_: int, attempt: int) -> Host | None:
        self._builder.finish()
        structure = self._built[self._priority]
        return None if structure is None else structure.choose_host(hash_, attempt)
