"""The watches of a server, shared by its clusters.

No Envoy counterpart; as close as Envoy comes is `GrpcMux`, over which all subscriptions of a server go. Clusters that
ask the same API server for the same objects have one watch. Where more than a few Services of one namespace are wanted,
one watch of the whole namespace takes the place of many: an API server likes a hundred events on one connection better
than a hundred connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ...stats.store import Scope
from .api_client import KubernetesApi
from .list_watch import Api, ListWatch
from .objects import ENDPOINT_SLICES, SERVICE_NAME, SERVICES, ObjectKey, Resource, pods
from .reflector import Reflector, ReflectorStats
from .settings import ApiSource, KubernetesSettings, ServiceRef
from .store import Store, StoreListener

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher
    from ...event.random import RandomGenerator
    from ...stats.store import Store as StatsStore
    from .subscription import Subscription

FEW_SERVICES: Final = 5
"""So many of one namespace are watched one by one."""

MakeApi = Callable[[ApiSource, "Dispatcher"], Api]


class Watch:
    """One watch and its store. `users` are those who hear of changes; without any it ends."""

    def __init__(self, list_watch: ListWatch, scope: Scope) -> None:
        self.list_watch = list_watch
        self.reflector: Reflector = list_watch.reflector
        self.store: Store = list_watch.reflector.store
        self.scope = scope
        self.users: list[StoreListener] = []

    @property
    def known(self) -> bool:
        """What is not in the store does not exist; or it will never be known, because we may not ask."""
        return self.store.synced or self.reflector.forbidden


class KubernetesDiscovery:
    """Attributes:
    subscriptions: of the clusters that have started, in that order.
    """

    def __init__(
        self, dispatcher: Dispatcher, random: RandomGenerator, stats: StatsStore, make_api: MakeApi = KubernetesApi
    ) -> None:
        self.dispatcher = dispatcher
        self.subscriptions: list[Subscription] = []
        self._random = random
        self._stats = stats
        self._make_api = make_api
        self._apis: dict[ApiSource, Api] = {}
        self._watches: dict[tuple[ApiSource, str, str, str, str, tuple[str, ...]], Watch] = {}
        self._services: dict[tuple[ApiSource, str], Counter[str]] = {}

    def announce(self, settings: KubernetesSettings) -> None:
        """Clusters say what they will ask for before the first one starts, so that it is known how much it is."""
        for ref in settings.refs:
            if isinstance(ref, ServiceRef):
                self._services.setdefault((settings.source, ref.key.namespace), Counter())[ref.key.name] += 1

    def withdraw(self, settings: KubernetesSettings) -> None:
        """A cluster that has announced itself is gone."""
        for ref in settings.refs:
            if isinstance(ref, ServiceRef):
                services = self._services[settings.source, ref.key.namespace]
                services[ref.key.name] -= 1
                if not services[ref.key.name]:
                    del services[ref.key.name]

    def api(self, source: ApiSource) -> Api:
        if source not in self._apis:
            self._apis[source] = self._make_api(source, self.dispatcher)
        return self._apis[source]

    def watches(self) -> list[Watch]:
        return list(self._watches.values())

    def slices_of(self, source: ApiSource, asked: str, key: ObjectKey, listener: StoreListener) -> Watch:
        """The slices of a Service; `asked` is the namespace as the configuration has it."""
        return self.watch(
            source,
            ENDPOINT_SLICES,
            key.namespace,
            listener,
            SERVICE_NAME if self._many(source, asked) else f"{SERVICE_NAME}={key.name}",
        )

    def service(self, source: ApiSource, asked: str, key: ObjectKey, listener: StoreListener) -> Watch:
        """The Service itself."""
        field = "" if self._many(source, asked) else f"metadata.name={key.name}"
        return self.watch(source, SERVICES, key.namespace, listener, "", field)

    def slices(self, source: ApiSource, namespace: str, selector: str, listener: StoreListener) -> Watch:
        """The slices that a label selector finds."""
        return self.watch(source, ENDPOINT_SLICES, namespace, listener, selector)

    def pods(
        self, source: ApiSource, namespace: str, selector: str, annotations: tuple[str, ...], listener: StoreListener
    ) -> Watch:
        """The pods that a label selector finds, with some of their annotations; no selector finds all."""
        return self.watch(source, pods(annotations), namespace, listener, selector, annotations=annotations)

    def watch(
        self,
        source: ApiSource,
        resource: Resource,
        namespace: str,
        listener: StoreListener,
        labels: str = "",
        fields: str = "",
        annotations: tuple[str, ...] = (),
    ) -> Watch:
        """Any kind of objects. `labels` and `fields` are selectors; `annotations` are those that `resource` keeps.

        `listener` is told of changes until it is released; a watch that is there already may know everything.
        """
        key = (source, f"{resource.group}/{resource.plural}", namespace, labels, fields, annotations)
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = self._start(source, resource, namespace, labels, fields)
        if listener not in watch.users:
            watch.users.append(listener)
            watch.store.add_listener(listener)
        return watch

    def release(self, watch: Watch, listener: StoreListener) -> None:
        """`listener` need not hear of it any more."""
        watch.users.remove(listener)
        watch.store.remove_listener(listener)
        if not watch.users:
            watch.list_watch.stop()
            watch.scope.remove()
            for key in [key for key, each in self._watches.items() if each is watch]:
                del self._watches[key]

    def stop(self) -> None:
        """End everything; connections close when the event loop has its next turn."""
        for subscription in tuple(self.subscriptions):
            subscription.stop()
        for api in self._apis.values():
            api.close()
        self._apis.clear()

    def _many(self, source: ApiSource, namespace: str) -> bool:
        return len(self._services.get((source, namespace), ())) > FEW_SERVICES

    def _start(self, source: ApiSource, resource: Resource, namespace: str, labels: str, fields: str) -> Watch:
        name = ".".join(
            filter(
                None, ("kubernetes", self._label(source), resource.plural, namespace or "_all", _which(labels, fields))
            )
        )
        scope = self._stats.scope(name)
        reflector = Reflector(
            resource,
            namespace,
            Store(),
            self._random.stream(f"{name}.{labels}.{fields}"),
            label_selector=labels,
            field_selector=fields,
            stats=scope.struct(ReflectorStats),
        )
        list_watch = ListWatch(reflector, self.api(source), self.dispatcher, scope)
        list_watch.start()
        return Watch(list_watch, scope)

    def _label(self, source: ApiSource) -> str:
        """Of an API server, in statistics: its context, or which it is if it is not the first."""
        self.api(source)
        at = list(self._apis).index(source)
        return _plain(source.context) or (str(at + 1) if at else "")


def _which(labels: str, fields: str) -> str:
    """What is selected, as a part of the name of a statistic: the Service, or the whole selector."""
    if labels == SERVICE_NAME:
        return ""
    return _plain(labels.removeprefix(f"{SERVICE_NAME}=") or fields.removeprefix("metadata.name="))


def _plain(text: str) -> str:
    return "".join(char if char.isalnum() or char == "-" else "_" for char in text)
