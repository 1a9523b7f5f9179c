"""One watch: the lines that are to be sent, as changes happen.

Kubernetes: the API server's watch cache. No socket here: whoever has one takes `lines` and is called when there are
more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from .api_error import Object, too_old
from .list_options import ListOptions
from .representation import Representation, dump
from .resource_types import ENDPOINT_SLICES, PODS, SERVICES, ResourceType
from .store import DELETED, Change, ObjectStore

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
BOOKMARK_INTERVAL: Final = 60.0
"""Seconds; the last one comes two seconds before the end."""
DEFAULT_TIMEOUT: Final = 1800.0
"""Seconds until a watch ends whose client has not said when."""
MAX_WAITING: Final = 10_000
"""Lines that a client may be behind before its watch ends."""
_EMPTY: Final[dict[ResourceType, Object]] = {
    ENDPOINT_SLICES: {"addressType": "", "endpoints": None, "ports": None},
    PODS: {"spec": {"containers": None}, "status": {}},
    SERVICES: {"spec": {}, "status": {"loadBalancer": {}}},
}
"""What a bookmark has besides its metadata: Go writes members that may not be left out."""


class Watch:
    """Attributes:
    lines: what has to be sent; taken from the left.
    over: nothing more will come, send what there is and end.
    wake: called when `lines` or `over` has changed.
    """

    def __init__(
        self,
        store: ObjectStore,
        type: ResourceType,
        namespace: str,
        options: ListOptions,
        matches: Callable[[Object], bool],
        representation: Representation,
        now: Callable[[], str],
    ) -> None:
        self.lines: deque[bytes] = deque()
        self.over = False
        self.wake: Callable[[], None] = lambda: None
        self.timeout = DEFAULT_TIMEOUT if options.timeout is None else options.timeout
        self.bookmarks = options.allow_bookmarks
        self._store = store
        self._type = type
        self._namespace = namespace
        self._matches = matches
        self._make = representation.events(type)
        self._now = now
        self._ignored_until = 0
        self._stop: Callable[[], None] = lambda: None
        version = options.version
        if not version or options.send_initial_events:
            self._send_all(options)
        elif version < store.compacted:
            self.end(too_old(version, store.compacted).status())
            return
        else:
            self._ignored_until = version
            for change in store.since(version):
                self._on_change(change)
        self._stop = store.listen(self._on_change)

    def bookmark(self) -> None:
        """Tell the client how far it is."""
        self._bookmark()
        self.wake()

    def end(self, error: Object | None = None) -> None:
        """No more; with `error`, that is the last line."""
        if self.over:
            return
        if error is not None:
            self._send("ERROR", error)
        self.close()
        self.wake()

    def close(self) -> None:
        """The client has gone."""
        if not self.over:
            self.over = True
            self._stop()

    def _send_all(self, options: ListOptions) -> None:
        for _, each in self._store.of_type(self._type, self._namespace):
            if self._matches(each):
                self._send("ADDED", self._make(each, self._now()))
        if options.send_initial_events and options.allow_bookmarks:
            self._bookmark({INITIAL_EVENTS_END: "true"})

    def _on_change(self, change: Change) -> None:
        # A client may know of versions that are still to come: it waits for what comes after them.
        if change.key.type is not self._type or change.version <= self._ignored_until:
            return
        if self._namespace and change.key.namespace != self._namespace:
            return
        was = change.before is not None and self._matches(change.before)
        is_now = change.kind != DELETED and self._matches(change.object)
        if is_now:
            self._send("MODIFIED" if was else "ADDED", self._make(change.object, self._now()))
        elif was:
            last = change.object
            if change.kind != DELETED and change.before is not None:
                # It has left the selector: its last matching state, with the version of the change.
                version = change.object["metadata"]["resourceVersion"]
                last = {**change.before, "metadata": {**change.before["metadata"], "resourceVersion": version}}
            self._send("DELETED", self._make(last, self._now()))
        self.wake()

    def _bookmark(self, annotations: Object | None = None) -> None:
        metadata: Object = {"resourceVersion": str(self._store.version)}
        if annotations:
            metadata["annotations"] = annotations
        type = self._type
        head = {"kind": type.kind, "apiVersion": type.api_version, "metadata": metadata}
        self._send("BOOKMARK", {**head, **_EMPTY.get(type, {})})

    def _send(self, kind: str, object: Object) -> None:
        if len(self.lines) >= MAX_WAITING:
            self.lines.clear()
            self.end()
            return
        self.lines.append(dump({"type": kind, "object": object}))
