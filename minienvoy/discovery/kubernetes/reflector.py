"""Keeps a store equal to what the API server has: what to ask next, and what an answer means.

No Envoy counterpart; client-go calls it `cache.Reflector`. No I/O, no clock and no task here: `list_watch` asks for
the next request, hands in what came of it, and is told how long to wait.

The protocol has three kinds of request, and one rule for when each is sent:

    nothing is known        list, in pages; or a watch that begins with everything (WatchList) where the server has it
    version V is known      watch from V, for four to five minutes, with bookmarks
    the connection broke    list one object: is the server still at V or later? Then watch from V

A watch tells each change with its version, and now and then a bookmark: only a version. When it ends, the next one
begins where it ended. "410 Expired" in any of its forms means that the server has forgotten V, and an answer with an
older version that it has lost it (a restored backup): list everything again. What a list does not have any more is
gone; nothing else ever takes an object away. A server that is down, slow, or talks nonsense changes nothing here.

A request that failed is tried again after anything between nothing and 0.5 s, 1 s, 2 s ... 30 s, which begins anew
only after a change was heard or a watch lasted ten seconds; watches begin at least two seconds apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ...event.random import RandomStream
from ...stats.store import CounterValue, GaugeValue, StatsStruct
from ...upstream.backoff_strategy import JitteredExponentialBackOffStrategy
from .answers import code_of, is_older, parsed, text_of
from .objects import Object, ObjectKey, Resource
from .store import Store

PAGE: Final = 500
"""Objects in one answer to a list."""
FIRST_BACK_OFF: Final = 0.5
LONGEST_BACK_OFF: Final = 30.0
LONGEST_RETRY_AFTER: Final = 300.0
WATCH_SECONDS: Final = (240, 300)
LONG_ENOUGH: Final = 10.0
"""Seconds that a watch must last to count as one that works."""
APART: Final = 2.0
"""Seconds between the beginnings of two watches: with the question before it, a request a second."""
LONGEST_LINE: Final = 32 * 1024 * 1024
"""etcd holds objects of up to 1.5 MB; who sends lines without an end is no API server."""
AT_ONCE: Final = 128 * 1024
"""Bytes of a watch that are looked at before others have their turn; and of a page as many objects."""
OBJECTS_AT_ONCE: Final = 100
TRIES_OF_A_VERSION: Final = 3
"""Refusals of a watch until its version is held to be what is wrong."""
_INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


class Request(NamedTuple):
    """A GET; `watch` if the answer is a stream of lines."""

    path: str
    query: tuple[tuple[str, str], ...]
    watch: bool


class ReflectorStats(StatsStruct):
    """Of one watch. `last_sync` is when a list was complete, in seconds since the epoch."""

    bookmarks: CounterValue
    events: CounterValue
    malformed: CounterValue
    relists: CounterValue
    requests: CounterValue
    requests_failed: CounterValue
    watch_restarts: CounterValue
    connected: GaugeValue
    last_sync: GaugeValue
    objects: GaugeValue


class Reflector:
    """Attributes:
    watch_list: the server can begin a watch with everything; None while that is not known.
    problem: what went wrong last; empty while all is well.
    forbidden: the server does not let us; `problem` says what is missing.
    unauthorized: the last answer was 401: other credentials are needed.
    worked: the last watch brought something, or lasted.
    synced_now: the store was filled by what was handed in last; whoever drives this notes the time, and clears it.
    """

    def __init__(
        self,
        resource: Resource,
        namespace: str,
        store: Store,
        random: RandomStream,
        *,
        label_selector: str = "",
        field_selector: str = "",
        stats: ReflectorStats | None = None,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.store = store
        self.stats = stats or ReflectorStats()
        self.watch_list: bool | None = None
        self.problem = ""
        self.forbidden = False
        self.unauthorized = False
        self.worked = False
        self.synced_now = False
        self.label_selector = label_selector
        self.field_selector = field_selector
        self._selectors = tuple(
            (name, text)
            for name, text in (("labelSelector", label_selector), ("fieldSelector", field_selector))
            if text
        )
        self._random = random
        self._back_off = JitteredExponentialBackOffStrategy(FIRST_BACK_OFF, LONGEST_BACK_OFF, random)
        self._version = ""
        """Where the next watch begins; empty if everything has to be listed."""
        self._continue = ""
        self._listed: dict[ObjectKey, Object] = {}
        self._paged = True
        self._initial = False
        """This watch still tells what there was before it began."""
        self._probe = False
        self._asked = _NOTHING
        self._kind = ""
        self._status = 0
        self._rest = b""
        self._heard = 0
        self._over = False
        self._refused = 0
        self._wait: float | None = None
        self._seen_sync = False

    def __str__(self) -> str:
        where = f" of {self.namespace}" if self.namespace else " of all namespaces"
        which = ", ".join(text for text in (self.label_selector, self.field_selector) if text)
        return f"{self.resource.plural}{where}{f' ({which})' if which else ''}"

    # -- what to ask

    def next_request(self) -> Request:
        """What to send now."""
        self._over = False
        self._rest = b""
        self._heard = 0
        self._wait = None
        self.unauthorized = self.worked = False
        self.stats.requests += 1
        if self._version and not self._probe:
            self._kind = "watch"
            query = [("resourceVersion", self._version), *self._watch_query()]
        elif self._version:
            self._kind = "probe"
            query = [("limit", "1")]
        elif self.watch_list:
            self._kind, self._initial = "watch", True
            self._listed = {}
            query = [
                ("sendInitialEvents", "true"),
                ("resourceVersionMatch", "NotOlderThan"),
                *self._watch_query(),
            ]
        else:
            self._kind = "list"
            if not self._continue:
                self._listed = {}
            query = [("limit", str(PAGE))] if self._paged else []
            if self._continue:
                query.append(("continue", self._continue))
        self._asked = Request(
            self.resource.path(self.namespace), (*query, *self._selectors), watch=self._kind == "watch"
        )
        return self._asked

    def _watch_query(self) -> list[tuple[str, str]]:
        return [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(self._random.randint(*WATCH_SECONDS))),
        ]

    # -- what came of it

    def answered(self, status: int) -> bool:
        """The head of the answer is there. True if the body is a watch's, for `watched`; else it is for `listed`."""
        self._status = status
        if status == 200 and self._kind == "watch":
            self.stats.connected = 1
            self.problem = ""
            self.forbidden = False
            return True
        return False

    def listed(self, body: bytes, retry_after: float | None = None) -> Iterator[None]:
        """The whole body of an answer that is no watch. Pauses now and then, so that others have their turn."""
        if self._status != 200:
            self._refuse(self._status, parsed(body), retry_after)
            return
        page = parsed(body)
        metadata = page.get("metadata") if isinstance(page, dict) else None
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if not isinstance(version, str) or not version or not str(page.get("kind", "")).endswith("List"):
            # Whatever it is, it is no list: it must not empty the store.
            self.stats.malformed += 1
            self._fail("the answer is no list")
            return
        if self._kind == "probe":
            self._probe = False
            if is_older(version, self._version):
                self._forget(f"the server is at version {version}, which is before {self._version}")
            self._wait = 0.0
            return
        items = page.get("items")
        yield
        for at, item in enumerate(items if isinstance(items, list) else ()):
            slim = self.resource.slim(item)
            if slim is None:
                self.stats.malformed += 1
            else:
                self._listed[slim.key] = slim
            if at % OBJECTS_AT_ONCE == OBJECTS_AT_ONCE - 1:
                yield
        self._continue = text_of(metadata, "continue")
        self._wait = 0.0
        if not self._continue:
            self._synced(version)

    def watched(self, data: bytes) -> Iterator[None]:
        """Bytes of a watch. Pauses now and then; ends early, and `over` is true, when the rest does not matter."""
        data = self._rest + data if self._rest else data
        start = looked = 0
        while not self._over:
            end = data.find(b"\n", start)
            if end < 0:
                break
            self._line(data[start:end])
            start = end + 1
            if start - looked >= AT_ONCE:
                looked = start
                yield
        self._rest = data[start:]
        if len(self._rest) > LONGEST_LINE:
            self.stats.malformed += 1
            self._fail("a line has no end")

    @property
    def over(self) -> bool:
        """Nothing that still comes of this answer matters."""
        return self._over

    def ended(self, problem: str, lasted: float) -> float:
        """The answer is over: `problem` says what broke, empty if it ended as it should; it lasted so many seconds.
        Returns how many to wait before `next_request`."""
        self.stats.connected = 0
        if self._rest.strip():
            # Half a line is no event. It will be told again.
            self.stats.malformed += 1
        self._rest = b""
        if self._wait is not None and not problem:
            return self._wait
        if problem:
            self._fail(problem)
            self._probe = bool(self._version)
        if self._kind != "watch":
            return self._wait or self._back_off.next_back_off()
        self.stats.watch_restarts += 1
        if self._initial:
            # Who is cut short in the middle of everything lists it page by page the next time.
            self._initial = False
            self.watch_list = False
        self.worked = worked = self._heard > 0 or lasted >= LONG_ENOUGH
        if worked:
            self._back_off.reset()
            self._refused = 0
        if self._wait is not None:
            return self._wait
        apart = max(0.0, APART - lasted)
        return apart if worked and not problem and not self._over else max(apart, self._back_off.next_back_off())

    # -- inside

    def _line(self, line: bytes) -> None:
        event = parsed(line) if line.strip() else None
        kind = event.get("type") if isinstance(event, dict) else None
        item = event.get("object") if isinstance(event, dict) else None
        if not isinstance(item, dict):
            self.stats.malformed += 1
            return
        if kind == "ERROR":
            self._refuse(code_of(item), item, None)
            self._over = True
            return
        metadata = item.get("metadata")
        version = text_of(metadata, "resourceVersion")
        if kind == "BOOKMARK":
            self._bookmark(metadata, version)
            return
        slim = self.resource.slim(item)
        if slim is None or kind not in ("ADDED", "MODIFIED", "DELETED"):
            self.stats.malformed += 1
            return
        self.stats.events += 1
        self._heard += 1
        if self._initial:
            if kind == "DELETED":
                self._listed.pop(slim.key, None)
            else:
                self._listed[slim.key] = slim
            return
        if self._went_back(version):
            return
        self._version = version or self._version
        if kind == "DELETED":
            self.store.remove(slim.key)
        else:
            self.store.put(slim)
        self.stats.objects = len(self.store)

    def _bookmark(self, metadata: Any, version: str) -> None:
        self.stats.bookmarks += 1
        if not self._initial:
            if not self._went_back(version):
                self._version = version or self._version
            return
        annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
        if isinstance(annotations, dict) and annotations.get(_INITIAL_EVENTS_END) == "true" and version:
            self._initial = False
            self._heard += 1
            self._synced(version)

    def _went_back(self, version: str) -> bool:
        if not is_older(version, self._version):
            return False
        self._forget(f"the server went back to version {version} from {self._version}")
        self._over = True
        return True

    def _synced(self, version: str) -> None:
        self._version = version
        self._continue = ""
        self._paged = True
        self._refused = 0
        if self._seen_sync:
            self.stats.relists += 1
        self._seen_sync = self.synced_now = True
        self.problem = ""
        self.forbidden = False
        listed, self._listed = self._listed, {}
        self.store.replace(listed.values())
        self.stats.objects = len(self.store)

    def _refuse(self, status: int, answer: Any, retry_after: float | None) -> None:
        message = text_of(answer, "message") or f"the server answers {status}"
        if status == 410:
            # Pages of a list that took too long are asked for in one piece.
            self._paged = not self._continue
            self._forget(message)
            return
        if self._initial and status in (400, 422, 500):
            self._initial = False
            self.watch_list = False
            self._wait = 0.0
            return
        self._initial = False
        if status == 401:
            self.unauthorized = True
            message = f"the server does not know us: {message}"
        elif status == 403:
            self.forbidden = True
            message = self._what_is_forbidden(message)
        elif self._kind == "watch" and status in (400, 500, 504):
            self._refused += 1
            if self._refused >= TRIES_OF_A_VERSION:
                self._version = ""
        self._fail(message)
        self._wait = self._back_off.next_back_off()
        if retry_after is not None:
            self._wait = max(self._wait, min(retry_after, LONGEST_RETRY_AFTER))

    def _what_is_forbidden(self, message: str) -> str:
        verb = "watch" if self._kind == "watch" else "list"
        group = f' in the API group "{self.resource.group}"'
        where = f'in the namespace "{self.namespace}"' if self.namespace else "in all namespaces"
        return (
            f"not allowed to {verb} {self.resource.plural} {where}: a Role must give the verbs get, list and watch on "
            f"{self.resource.plural}{group} ({message})"
        )

    def _forget(self, why: str) -> None:
        """List everything again; what is in the store stays until then."""
        self.problem = why
        self._version = self._continue = ""
        self._initial = self._probe = False

    def _fail(self, why: str) -> None:
        self.problem = why
        self.stats.requests_failed += 1
        self._over = True


_NOTHING: Final = Request("", (), watch=False)
