"""The objects of the fake API server, every change of them in order, and what they were before.

Kubernetes: etcd under the API server's watch cache. A change makes the next resource version; whoever watches is told
of it; a list may be of an earlier version until that has been compacted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from .api_error import Object
from .resource_types import ResourceType

ADDED: Final = "ADDED"
MODIFIED: Final = "MODIFIED"
DELETED: Final = "DELETED"
FIRST_VERSION: Final = 200
"""A server that has just started has made some objects of its own already."""


class Key(NamedTuple):
    """Where an object is; `namespace` is empty for what has none."""

    type: ResourceType
    namespace: str
    name: str


class Change(NamedTuple):
    """One event; `object` is, for one that was deleted, its last state with the version of the deletion."""

    version: int
    kind: str
    key: Key
    object: Object
    before: Object | None


class ObjectStore:
    """Objects are not changed in place: whoever changes one puts a new one.

    Attributes:
        version: of the last change.
        compacted: nothing is known any more of how things were before this version.
    """

    MAX_CHANGES: Final = 100_000
    """Changes that are remembered; of more, the older half is compacted."""

    def __init__(self, first_version: int = FIRST_VERSION) -> None:
        self.version = first_version
        self.compacted = 0
        self._objects: dict[Key, Object] = {}
        self._changes: list[Change] = []
        self._listeners: list[Callable[[Change], None]] = []

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def of_type(self, type: ResourceType, namespace: str = "") -> list[tuple[Key, Object]]:
        """By namespace and name; of all namespaces if `namespace` is empty."""
        return _selected(self._objects, type, namespace)

    def everything(self) -> list[tuple[Key, Object]]:
        """Of all types, in no order."""
        return list(self._objects.items())

    def at(self, version: int, type: ResourceType, namespace: str = "") -> list[tuple[Key, Object]]:
        """The same as it was; `version` must not have been compacted."""
        objects = dict(self._objects)
        for change in reversed(self._changes):
            if change.version <= version:
                break
            if change.before is None:
                objects.pop(change.key, None)
            else:
                objects[change.key] = change.before
        return _selected(objects, type, namespace)

    def put(self, key: Key, new: Object) -> Object:
        """Add or replace; `new` gets its resource version and belongs to the store from now on."""
        before = self._objects.get(key)
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key] = new
        self._tell(Change(self.version, ADDED if before is None else MODIFIED, key, new, before))
        return new

    def remove(self, key: Key) -> Object:
        """The last state, with the version of the removal."""
        before = self._objects.pop(key)
        self.version += 1
        last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self.version)}}
        self._tell(Change(self.version, DELETED, key, last, before))
        return last

    def since(self, version: int) -> Iterator[Change]:
        """Every change after `version`, in order."""
        start = len(self._changes)
        while start and self._changes[start - 1].version > version:
            start -= 1
        return iter(self._changes[start:])

    def compact(self, version: int | None = None) -> None:
        """Forget how things were before `version`; without one, before now."""
        self.compacted = self.version if version is None else version
        self._changes = [change for change in self._changes if change.version > self.compacted]

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Hear of every change when it is made; the result ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, change: Change) -> None:
        self._changes.append(change)
        if len(self._changes) > self.MAX_CHANGES:
            self.compact(self._changes[self.MAX_CHANGES // 2].version)
        for listener in tuple(self._listeners):
            listener(change)


def _selected(objects: dict[Key, Object], type: ResourceType, namespace: str) -> list[tuple[Key, Object]]:
    found = [
        (key, each)
        for key, each in objects.items()
        if key.type is type and (not namespace or key.namespace == namespace)
    ]
    found.sort(key=lambda pair: (pair[0].namespace, pair[0].name))
    return found
