"""What a bad network does to the bytes of one direction, by the names that toxiproxy gave it.

No Envoy counterpart. A direction is a chain of stages. Each takes bytes and marks (the direction has ended, the peer is
gone), and hands them on, now or later, as they came or not at all. Time is the dispatcher's, so that a test may
move it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from ..record import field, record

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..event.random import RandomStream

DOWNSTREAM: Final = "downstream"
"""From the host to us: the default, as toxiproxy's."""
UPSTREAM: Final = "upstream"


class Mark(Enum):
    """What a direction carries besides bytes."""

    END = 1
    """No more bytes come; the other direction goes on."""
    CLOSE = 2
    """The end of both directions."""
    RESET = 3
    """The same, by RST."""
    LOST = 4
    """The peer is gone: its end has been told by the transport."""


Item = bytes | Mark

ATTRIBUTES: Final[Mapping[str, Mapping[str, int]]] = {
    "latency": {"latency": 0, "jitter": 0},
    "bandwidth": {"rate": 0},
    "slow_close": {"delay": 0},
    "timeout": {"timeout": 0},
    "reset_peer": {"timeout": 0},
    "slicer": {"average_size": 1, "size_variation": 0, "delay": 0},
    "limit_data": {"bytes": 0},
}
"""Of each type, with their defaults; toxiproxy's units: milliseconds, KB/s, and microseconds for the slicer's delay."""


@record
class Toxic:
    """One way in which a connection is bad.

    Attributes:
        name: by which it is removed; its type and direction if nothing is said, as with toxiproxy.
        type: one of `ATTRIBUTES`.
        stream: which direction it is in.
        toxicity: the share of connections that have it.
        attributes: as given, without defaults.
    """

    type: str
    name: str = ""
    stream: str = DOWNSTREAM
    toxicity: float = 1.0
    attributes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = ATTRIBUTES.get(self.type)
        if known is None:
            raise ConfigError(f"there is no toxic '{self.type}'", remedy=f"there are: {', '.join(ATTRIBUTES)}")
        if self.stream not in (UPSTREAM, DOWNSTREAM):
            raise ConfigError(f"there is no stream '{self.stream}'", remedy="give upstream or downstream")
        if not 0.0 <= self.toxicity <= 1.0:
            raise ConfigError(f"toxicity {self.toxicity} is no share", remedy="give a number from 0 to 1")
        for name, value in self.attributes.items():
            if name not in known:
                remedy = f"it has: {', '.join(known)}"
                raise ConfigError(f"toxic '{self.type}' has no attribute '{name}'", remedy=remedy)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
                raise ConfigError(f"{name}={value!r} of toxic '{self.type}'", remedy="give a whole number from 0")
        if not self.name:
            object.__setattr__(self, "name", f"{self.type}_{self.stream}")

    def __getitem__(self, attribute: str) -> int:
        return self.attributes.get(attribute, ATTRIBUTES[self.type][attribute])


class Stage:
    """Hands on what it gets at its time; `out` is the next one."""

    __slots__ = ("_dispatcher", "_last_due", "_queue", "_timer", "buffered", "out", "toxic")

    def __init__(self, toxic: Toxic, dispatcher: Dispatcher, random: RandomStream) -> None:
        self.toxic = toxic
        self.out: Callable[[Item], None] = _nowhere
        self.buffered = 0
        """Bytes that wait here."""
        self._dispatcher = dispatcher
        self._queue: deque[tuple[float, Item]] = deque()
        self._last_due = 0.0
        self._timer = dispatcher.create_timer(self._on_timer)

    def take(self, item: Item) -> None:
        """Bytes or a mark from the stage before."""
        self._wait(item, 0.0)

    def start(self) -> None:
        """It has its place in a chain."""

    def release(self) -> None:
        """Hand on everything at once: the toxic is taken away."""
        self._timer.disable()
        while self._queue:
            self._hand_on()

    def stop(self) -> None:
        """Forget everything: the connection is gone."""
        self._timer.disable()
        self._queue.clear()
        self.buffered = 0

    def _wait(self, item: Item, delay: float, after_last: bool = False) -> None:
        """Hand `item` on in `delay` seconds: from now, or from when the one before it goes."""
        now = self._dispatcher.monotonic_time()
        due = max(now, self._last_due) + delay if after_last else max(now + delay, self._last_due)
        if due <= now and not self._queue:
            self.out(item)
            return
        self._last_due = due
        self._queue.append((due, item))
        if isinstance(item, bytes):
            self.buffered += len(item)
        if len(self._queue) == 1:
            self._timer.enable(due - now)

    def _on_timer(self) -> None:
        # What is due within the dispatcher's tick goes now, or a thousand small pieces would take a thousand ticks.
        now = self._dispatcher.monotonic_time() + 1e-6
        while self._queue and self._queue[0][0] <= now:
            self._hand_on()
        if self._queue:
            self._timer.enable(self._queue[0][0] - self._dispatcher.monotonic_time())

    def _hand_on(self) -> None:
        item = self._queue.popleft()[1]
        if isinstance(item, bytes):
            self.buffered -= len(item)
        self.out(item)


class _Random(Stage):
    __slots__ = ("_random",)

    def __init__(self, toxic: Toxic, dispatcher: Dispatcher, random: RandomStream) -> None:
        super().__init__(toxic, dispatcher, random)
        self._random = random


class Latency(_Random):
    """Everything is late by `latency` plus or minus `jitter`; nothing overtakes."""

    __slots__ = ()

    def take(self, item: Item) -> None:
        delay = 0.0
        if isinstance(item, bytes):
            jitter = self.toxic["jitter"]
            spread = self._random.uniform(-jitter, jitter) if jitter else 0.0
            delay = max(0.0, self.toxic["latency"] + spread) / 1000.0
        self._wait(item, delay)


class Bandwidth(Stage):
    """`rate` KB/s and no more; 0 is no limit."""

    __slots__ = ()

    def take(self, item: Item) -> None:
        rate = self.toxic["rate"] * 1000
        if not rate or not isinstance(item, bytes):
            self._wait(item, 0.0)
            return
        # A tenth of a second's worth at a time: large pieces would not come slowly, but late.
        step = max(1, rate // 10)
        for start in range(0, len(item), step):
            piece = item[start : start + step]
            self._wait(piece, len(piece) / rate, after_last=True)


class SlowClose(Stage):
    """The end comes `delay` late."""

    __slots__ = ()

    def take(self, item: Item) -> None:
        self._wait(item, 0.0 if isinstance(item, bytes) else self.toxic["delay"] / 1000.0)


class _Sink(Stage):
    """Nothing gets through; after `timeout` comes the end."""

    __slots__ = ()
    end = Mark.CLOSE

    def take(self, item: Item) -> None:
        if item is Mark.LOST:
            self.stop()
            self.out(item)

    def release(self) -> None:
        self._timer.disable()

    def _on_timer(self) -> None:
        self.out(self.end)


class Timeout(_Sink):
    """With 0 there is no end."""

    __slots__ = ()

    def start(self) -> None:
        if self.toxic["timeout"]:
            self._timer.enable(self.toxic["timeout"] / 1000.0)


class ResetPeer(_Sink):
    """The end is a RST; with 0 at once."""

    __slots__ = ()
    end = Mark.RESET

    def start(self) -> None:
        self._timer.enable(self.toxic["timeout"] / 1000.0)


class Slicer(_Random):
    """Small pieces of `average_size` plus or minus `size_variation`, each `delay` microseconds after the one before."""

    __slots__ = ()

    def take(self, item: Item) -> None:
        if not isinstance(item, bytes):
            self._wait(item, 0.0)
            return
        average, variation, delay = (self.toxic[each] for each in ("average_size", "size_variation", "delay"))
        start = 0
        while start < len(item):
            size = max(1, average + (self._random.randint(-variation, variation) if variation else 0))
            self._wait(item[start : start + size], delay / 1e6, after_last=True)
            start += size


class LimitData(Stage):
    """The connection ends after so many `bytes`."""

    __slots__ = ("_passed",)

    def start(self) -> None:
        self._passed = 0

    def take(self, item: Item) -> None:
        if not isinstance(item, bytes):
            self.out(item)
            return
        left = self.toxic["bytes"] - self._passed
        self._passed += len(item)
        if left > 0:
            self.out(item[:left])
        if len(item) >= left:
            self.out(Mark.CLOSE)


def _nowhere(item: Item) -> None:
    """A stage that has no place yet."""


_STAGES: Final[Mapping[str, type[Stage]]] = {
    "latency": Latency,
    "bandwidth": Bandwidth,
    "slow_close": SlowClose,
    "timeout": Timeout,
    "reset_peer": ResetPeer,
    "slicer": Slicer,
    "limit_data": LimitData,
}


def make_stage(toxic: Toxic, dispatcher: Dispatcher, random: Any) -> Stage:
    """Starts with `start`, once its `out` is set."""
    return _STAGES[toxic.type](toxic, dispatcher, random)


class Chain:
    """The stages of one direction, from `take` to `out`."""

    __slots__ = ("_dispatcher", "_out", "_random", "_stages")

    def __init__(self, dispatcher: Dispatcher, random: RandomStream, out: Callable[[Item], None]) -> None:
        self._dispatcher = dispatcher
        self._random = random
        self._out = out
        self._stages: list[Stage] = []

    def take(self, item: Item) -> None:
        (self._stages[0].take if self._stages else self._out)(item)

    @property
    def buffered(self) -> int:
        """Bytes that are under way."""
        return sum(stage.buffered for stage in self._stages)

    def has(self, kind: str) -> Toxic | None:
        """A toxic of that type."""
        return next((stage.toxic for stage in self._stages if stage.toxic.type == kind), None)

    def change(self, toxics: list[Toxic]) -> None:
        """Have these toxics from now on: what stays keeps what waits in it, what goes lets it go in order."""
        # The first one first: what it lets go comes after what the next one still holds.
        for stage in self._stages:
            if stage.toxic not in toxics:
                stage.release()
        kept = {stage.toxic.name: stage for stage in self._stages if stage.toxic in toxics}
        new: list[Stage] = []
        stages = []
        for toxic in toxics:
            if toxic.name in kept:
                stages.append(kept[toxic.name])
            else:
                new.append(make_stage(toxic, self._dispatcher, self._random))
                stages.append(new[-1])
        self._stages = stages
        for at, stage in enumerate(stages):
            stage.out = stages[at + 1].take if at + 1 < len(stages) else self._out
        for stage in new:
            stage.start()

    def stop(self) -> None:
        for stage in self._stages:
            stage.stop()
        self._stages = []
