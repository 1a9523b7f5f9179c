"""What a watch knows: the objects of one kind, as of the last event.

No Envoy counterpart; client-go has `cache.ThreadSafeStore`. Whoever wants to know of changes is told which objects
changed, and by which Service they are found: nothing is copied, and nobody is told of what stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .objects import EndpointSlice, Object, ObjectKey

StoreListener = Callable[[frozenset["ObjectKey"]], None]
"""Takes the groups in which something changed, see `Store.group`."""


def group_of(item: Object) -> ObjectKey:
    """The Service that an EndpointSlice belongs to; any other object is its own group."""
    return ObjectKey(item.key.namespace, item.service) if isinstance(item, EndpointSlice) else item.key


class Store:
    """Attributes:
    synced: it has been filled once, so that what is not here does not exist.
    """

    def __init__(self) -> None:
        self.synced = False
        self._objects: dict[ObjectKey, Object] = {}
        self._groups: dict[ObjectKey, dict[ObjectKey, Object]] = {}
        self._listeners: list[StoreListener] = []

    def add_listener(self, listener: StoreListener) -> None:
        """Called after every change, and once with no groups when the store has been filled for the first time."""
        self._listeners.append(listener)

    def remove_listener(self, listener: StoreListener) -> None:
        self._listeners.remove(listener)

    def get(self, key: ObjectKey) -> Object | None:
        return self._objects.get(key)

    def group(self, key: ObjectKey) -> Iterable[Object]:
        """The slices of a Service, in the order in which they came."""
        return self._groups.get(key, {}).values()

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def put(self, item: Object) -> None:
        """An object came into being, or is another now."""
        if self._objects.get(item.key) != item:
            self._tell(self._put(item))

    def remove(self, key: ObjectKey) -> None:
        """An object is gone."""
        self._tell(self._remove(key))

    def replace(self, items: Iterable[Object]) -> int:
        """These are all objects there are now; returns how many changed, came or went."""
        new = {item.key: item for item in items}
        changed: set[ObjectKey] = set()
        count = 0
        for key in [key for key in self._objects if key not in new]:
            changed |= self._remove(key)
            count += 1
        for key, item in new.items():
            if self._objects.get(key) != item:
                changed |= self._put(item)
                count += 1
        first, self.synced = not self.synced, True
        if first or changed:
            self._tell(changed, first=first)
        return count

    def touch(self) -> None:
        """Nothing changed, but it has become clear that nothing will be known for now."""
        self._tell(set(), first=True)

    def _put(self, item: Object) -> set[ObjectKey]:
        group = group_of(item)
        changed = {group}
        old = self._objects.get(item.key)
        if old is not None:
            before = group_of(old)
            if before != group:
                changed |= self._remove(item.key)
        self._objects[item.key] = item
        self._groups.setdefault(group, {})[item.key] = item
        return changed

    def _remove(self, key: ObjectKey) -> set[ObjectKey]:
        old = self._objects.pop(key, None)
        if old is None:
            return set()
        group = group_of(old)
        members = self._groups[group]
        del members[key]
        if not members:
            del self._groups[group]
        return {group}

    def _tell(self, changed: set[ObjectKey], *, first: bool = False) -> None:
        if changed or first:
            groups = frozenset(changed)
            for listener in tuple(self._listeners):
                listener(groups)
