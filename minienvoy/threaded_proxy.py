"""A `Proxy` for programs that do not await: it runs in a thread, and is asked from any other.

No Envoy counterpart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .event.loop_thread import LoopThread

if TYPE_CHECKING:
    from .explain.log import ExplanationLog
    from .proxy import Proxy
    from .tracing.span import Span

_T = TypeVar("_T")


class ThreadedStats(Mapping[str, int]):
    """The statistics of a `Proxy`, read between two events of its thread: what has been answered has been counted."""

    def __init__(self, ask: Callable[[Callable[[], Any]], Any], proxy: Proxy) -> None:
        self._ask = ask
        self._proxy = proxy

    def __getitem__(self, name: str) -> int:
        value: int = self._ask(lambda: self._proxy.stats[name])
        return value

    def get(self, name: str, /, default: Any = None) -> Any:
        """The value, or `default` while there is no such counter or gauge."""
        return self._ask(lambda: self._proxy.stats.get(name, default))

    def __contains__(self, name: object) -> bool:
        return bool(self._ask(lambda: name in self._proxy.stats))

    def __iter__(self) -> Iterator[str]:
        names: list[str] = self._ask(lambda: list(self._proxy.stats))
        return iter(names)

    def __len__(self) -> int:
        count: int = self._ask(lambda: len(self._proxy.stats))
        return count


class ThreadedFaults:
    """`Proxy.faults`, changed in its thread."""

    def __init__(self, ask: Callable[[Callable[[], Any]], Any], proxy: Proxy) -> None:
        self._ask = ask
        self._proxy = proxy

    def add(self, cluster: str, type: str, **options: Any) -> str:
        """As `Faults.add`."""
        name: str = self._ask(lambda: self._proxy.faults.add(cluster, type, **options))
        return name

    def remove(self, cluster: str, name: str, *, endpoint: str | None = None) -> None:
        """As `Faults.remove`."""
        self._ask(lambda: self._proxy.faults.remove(cluster, name, endpoint=endpoint))

    def clear(self) -> None:
        """As `Faults.clear`."""
        self._ask(lambda: self._proxy.faults.clear())


class ThreadedProxy:
    """Made by `Proxy.in_thread`. Everything that a `Proxy` awaits is waited for here; the rest is the same.

    Attributes:
        stats: as `Proxy.stats`.
    """

    def __init__(self, proxy: Proxy, thread: LoopThread | None = None) -> None:
        """With `thread` it shares one that somebody else stops; otherwise it has its own."""
        self._proxy = proxy
        self._owns_thread = thread is None
        self._thread = thread or LoopThread()
        self.stats = ThreadedStats(self._ask, proxy)

    def start(self) -> Self:
        """As `Proxy.start`."""
        self._thread.start()
        try:
            self._thread.run(self._proxy.start())
        except BaseException:
            self._end_thread()
            raise
        return self

    def stop(self) -> None:
        """As `Proxy.stop`."""
        try:
            if self._thread.running:
                self._thread.run(self._proxy.stop())
        finally:
            self._end_thread()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def spans(self) -> list[Span]:
        """As `Proxy.spans`; those of what has been answered are among them."""
        ended: list[Span] = self._ask(lambda: list(self._proxy.spans))
        return ended

    @property
    def explain(self) -> ExplanationLog:
        """As `Proxy.explain`; what has been answered is in it."""
        log: ExplanationLog = self._ask(lambda: self._proxy.explain)
        return log

    def address(self, listener: str | None = None) -> tuple[str, int]:
        """As `Proxy.address`."""
        found: tuple[str, int] = self._ask(lambda: self._proxy.address(listener))
        return found

    def url(self, listener: str | None = None) -> str:
        """As `Proxy.url`."""
        found: str = self._ask(lambda: self._proxy.url(listener))
        return found

    @property
    def faults(self) -> ThreadedFaults:
        """As `Proxy.faults`."""
        return ThreadedFaults(self._ask, self._proxy)

    def advance(self, seconds: float) -> None:
        """As `Proxy.advance`. Peers in other threads are not waited for."""
        self._thread.run(self._proxy.advance(seconds))

    def apply(self, config: Any) -> None:
        """As `Proxy.apply`."""
        self._thread.run(self._proxy.apply(config))

    def __repr__(self) -> str:
        return f"<Threaded{repr(self._proxy)[1:]}"

    # -- inside

    def _ask(self, function: Callable[[], _T]) -> _T:
        # Once it is stopped, what it knows does not change any more.
        return self._thread.call(function) if self._thread.running else function()

    def _end_thread(self) -> None:
        if self._owns_thread:
            self._thread.stop()
