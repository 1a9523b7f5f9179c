"""What one cluster knows of its pods, kept up to date.

Envoy: `Config::Subscription`, for the endpoints of one cluster. Whatever happens within `BATCH` seconds becomes one
update: a rollout touches a slice some ten times a second, and each update makes the balancer's structures anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, cast

from ... import logger
from ...errors import KubernetesError
from ...record import replace
from .discovery import Watch
from .mapped import Assignment
from .mapping import Mapper
from .objects import EndpointSlice, ObjectKey, Pod, Service
from .settings import KubernetesSettings, PodsRef, Ref, ServiceRef, SlicesRef
from .store import StoreListener
from .wanted import Found

if TYPE_CHECKING:
    from ...event.dispatcher import Timer
    from .discovery import KubernetesDiscovery

log = logger.get("upstream")
BATCH: Final = 0.075
"""Seconds from the first change to the update."""
TRY_AGAIN: Final = 5.0
"""Seconds until it is looked again where the API server is, if that can not be found out."""


class _Part:
    """One ref, and the watches that tell of it. `service_watch` is None if nobody looks at the Service itself."""

    def __init__(self, ref: Ref, slices: list[Watch], service_watch: Watch | None) -> None:
        self.ref = ref
        self.watches = slices
        self.service_watch = service_watch

    @property
    def known(self) -> bool:
        """A Service that we may not look at is done without; its slices are not."""
        return all(watch.store.synced for watch in self.watches) and (
            self.service_watch is None or self.service_watch.known
        )

    def found(self) -> Found:
        ref = self.ref
        if isinstance(ref, PodsRef):
            pods = [cast(Pod, each) for watch in self.watches for each in watch.store]
            return Found(ref, pods=pods)
        store = self.watches[0].store
        if isinstance(ref, SlicesRef):
            return Found(ref, [cast(EndpointSlice, each) for each in store])
        slices = [cast(EndpointSlice, each) for each in store.group(ref.key)]
        if self.service_watch is None or not self.service_watch.store.synced:
            return Found(ref, slices)
        return Found(ref, slices, cast("Service | None", self.service_watch.store.get(ref.key)), True)


class Subscription:
    """Attributes:
    name: of the cluster.
    settings: as configured.
    assignment: what was last told; None before the first time.
    problem: why nothing can be asked at all; empty if it can.
    watches: what it listens to.
    """

    def __init__(
        self,
        name: str,
        settings: KubernetesSettings,
        discovery: KubernetesDiscovery,
        on_update: Callable[[Assignment], Iterator[None]],
    ) -> None:
        """`on_update` takes what is new, and may pause on its way."""
        self.name = name
        self.settings = settings
        self.assignment: Assignment | None = None
        self.problem = ""
        self.watches: list[Watch] = []
        self._discovery = discovery
        self._on_update = on_update
        self._mapper = Mapper(settings)
        self._parts: list[_Part] = []
        self._pod_watches: list[Watch] = []
        self._changed_pods: set[ObjectKey] | None = None
        """Since the last update; None if it may be all."""
        self._listeners: list[tuple[Watch, StoreListener]] = []
        self._work: Iterator[None] | None = None
        self._dirty = False
        self._timer: Timer = discovery.dispatcher.create_timer(self._update)
        self._again: Timer = discovery.dispatcher.create_timer(self._begin)

    def start(self) -> None:
        """Begin to listen; `on_update` is called as soon as everything is known, and after every change."""
        self._discovery.subscriptions.append(self)
        self._begin()

    def stop(self) -> None:
        self._timer.disable()
        self._again.disable()
        self._work = None
        for watch, listener in self._listeners:
            self._discovery.release(watch, listener)
        self._listeners.clear()
        self.watches, self._pod_watches = [], []
        if self in self._discovery.subscriptions:
            self._discovery.subscriptions.remove(self)

    @property
    def stale_seconds(self) -> float:
        """The age of the oldest thing it relies on; 0 while all watches are open."""
        return max((watch.list_watch.stale_seconds for watch in self.watches), default=0.0)

    # -- inside

    def _begin(self) -> None:
        settings = self.settings
        try:
            parts = [self._resolved(ref) for ref in settings.refs]
        except KubernetesError as error:
            if self.problem != str(error):
                log.warning(f"kubernetes: cluster {self.name}: {error}")
            self.problem = str(error)
            self._again.enable(TRY_AGAIN)
            return
        self.problem = ""
        for ref, asked in zip(parts, settings.refs, strict=True):
            self._parts.append(self._listen_to(ref, asked))
        if settings.watches_pods:
            annotations = (settings.weight_annotation,) if settings.weight_annotation else ()
            for namespace in {_namespace(ref) for ref in parts if not isinstance(ref, PodsRef)}:
                listener: StoreListener = lambda keys: self._pods_changed(keys)  # noqa: E731
                watch = self._discovery.pods(settings.source, namespace, "", annotations, listener)
                self._keep(watch, listener)
                self._pod_watches.append(watch)
        self._first()

    def _resolved(self, ref: Ref) -> Ref:
        """With the namespace that is meant where none is told."""
        if isinstance(ref, PodsRef):
            if "" not in ref.namespaces:
                return ref
            return replace(ref, namespaces=tuple(each or self._default_namespace() for each in ref.namespaces))
        if _namespace(ref):
            return ref
        if isinstance(ref, ServiceRef):
            return replace(ref, key=ObjectKey(self._default_namespace(), ref.key.name))
        return replace(ref, namespace=self._default_namespace())

    def _default_namespace(self) -> str:
        return self._discovery.api(self.settings.source).default_namespace()

    def _listen_to(self, ref: Ref, asked: Ref) -> _Part:
        discovery, source = self._discovery, self.settings.source
        if isinstance(ref, PodsRef):
            annotation = self.settings.weight_annotation
            annotations = (annotation,) if annotation else ()
            watches = []
            for namespace in ref.namespaces or ("",):
                watch = discovery.pods(source, namespace, ref.label_selector, annotations, self._changed)
                self._keep(watch, self._changed)
                watches.append(watch)
            return _Part(ref, watches, None)
        if isinstance(ref, SlicesRef):
            watch = discovery.slices(source, ref.namespace, ref.label_selector, self._changed)
            self._keep(watch, self._changed)
            return _Part(ref, [watch], None)

        def changed(groups: frozenset[ObjectKey]) -> None:
            # Others of the same namespace may share the watch.
            if not groups or ref.key in groups:
                self._changed(groups)

        watch = discovery.slices_of(source, _namespace(asked), ref.key, changed)
        self._keep(watch, changed)
        service_watch = None
        if self.settings.watches_service(ref):
            service_watch = discovery.service(source, _namespace(asked), ref.key, changed)
            self._keep(service_watch, changed)
        return _Part(ref, [watch], service_watch)

    def _keep(self, watch: Watch, listener: StoreListener) -> None:
        if (watch, listener) not in self._listeners:
            self._listeners.append((watch, listener))
        if watch not in self.watches:
            self.watches.append(watch)

    def _first(self) -> None:
        """A watch that others have had for long may know everything already."""
        if self._parts and all(p.known for p in self._parts) and all(w.known for w in self._pod_watches):
            self._update()

    def refresh(self) -> None:
        """Tell the assignment again, soon: something else than Kubernetes changed."""
        self._changed(frozenset())

    def _changed(self, groups: frozenset[ObjectKey]) -> None:
        if self._work is not None:
            self._dirty = True
        elif self.assignment is None:
            self._first()
        elif not self._timer.enabled:
            self._timer.enable(BATCH)

    def _pods_changed(self, keys: frozenset[ObjectKey]) -> None:
        # Of all the pods of a namespace those count that a slice has told of, or tells of just now.
        ours = keys if self._work is not None else [key for key in keys if self._mapper.tells_of(key)]
        if not keys:
            self._changed_pods = None
        elif self._changed_pods is not None:
            self._changed_pods.update(ours)
        if self.assignment is None or ours:
            self._changed(keys)

    def _pod(self, key: ObjectKey) -> Pod | None:
        for watch in self._pod_watches:
            found = watch.store.get(key)
            if found is not None:
                return cast(Pod, found)
        return None

    def _update(self) -> None:
        self._dirty = False
        self._work = self._steps()
        self._go_on()

    def _go_on(self) -> None:
        """A piece of the work; ten thousand endpoints at once would keep everybody else waiting."""
        work = self._work
        if work is None:
            return
        try:
            next(work)
        except StopIteration:
            self._work = None
            if self._dirty:
                self._timer.enable(BATCH)
            return
        except BaseException:
            self._work = None
            raise
        self._discovery.dispatcher.post(self._go_on)

    def _steps(self) -> Iterator[None]:
        found = [part.found() for part in self._parts]
        pods, changed_pods, self._changed_pods = self._pod if self._pod_watches else None, self._changed_pods, set()
        assignment = yield from self._mapper.steps(found, pods, changed_pods)
        self.assignment = assignment
        yield from self._on_update(assignment)


def _namespace(ref: Ref) -> str:
    if isinstance(ref, ServiceRef):
        return ref.key.namespace
    return ref.namespace if isinstance(ref, SlicesRef) else ref.namespaces[0] if ref.namespaces else ""
