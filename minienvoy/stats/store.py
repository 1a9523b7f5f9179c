"""Counters, gauges, histograms and text readouts, by name.

Envoy: `Stats::Store`, `Stats::Scope`, `Stats::Counter` and the `ALL_..._STATS` structs made by `GENERATE_STATS_STRUCT`.

The owner of some stats takes a struct when it is configured and bumps plain slots of it, `stats.rq_total += 1`; the
store reads the slots when somebody asks. Nothing else is done on the way of a request: no name, no lookup, no call.

    class TcpProxyStats(StatsStruct):
        downstream_cx_total: CounterValue
        upstream_flush_active: GaugeValue
        downstream_cx_length_ms: MillisecondsHistogram

    stats = store.scope("tcp.ingress").struct(TcpProxyStats)

A stat is its name: who asks for the same struct under the same prefix gets the same instance, and it exists until each
of them has removed its scope. Sources that differ and still report one name (a struct and a provider) add up.

`used` (`/stats?usedonly`) is inferred, because a flag would cost every increment: a counter is used if it was ever seen
above zero, a gauge if it was ever seen different from zero, and both if `USED_WITH` of their struct names a counter
that is used (a connection that came and went has used the gauge that counts the active ones), has a question whose
answer from the counters is yes, or names nothing, for what the owner sets when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, TypeVar

from .histogram import DEFAULT_BUCKETS, Histogram

CounterValue = Annotated[int, "counter"]
"""A field of a stats struct that only grows."""
GaugeValue = Annotated[int, "gauge"]
"""A field of a stats struct that goes up and down."""

NumberProvider = Callable[[], Iterable[tuple[str, int]]]


class Sample(NamedTuple):
    """A counter or a gauge as it was read."""

    name: str
    value: int
    used: bool


class HostMetric(NamedTuple):
    """A number of one endpoint (`Stats::PrimitiveMetricMetadata`): it stands behind all other numbers, and its tags are
    not found in its name, in which an address has lost its colons."""

    sample: Sample
    gauge: bool
    tag_extracted_name: str
    tags: tuple[tuple[str, str], ...]


HostMetricProvider = Callable[[], Iterable[HostMetric]]


class TextSample(NamedTuple):
    name: str
    value: str
    used: bool


class HistogramSample(NamedTuple):
    name: str
    histogram: Histogram


class StatsStructMeta(type):
    """Makes slots, and the lists of names, of the annotations in the body of a stats struct."""

    COUNTERS: tuple[str, ...]
    GAUGES: tuple[str, ...]
    HISTOGRAMS: tuple[tuple[str, str], ...]

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> StatsStructMeta:
        kinds: dict[str, str] = {
            field: kind for field, kind in namespace.get("__annotations__", {}).items() if kind in _KINDS
        }
        namespace["__slots__"] = tuple(kinds)
        cls = super().__new__(mcs, name, bases, namespace)
        base = bases[0] if bases else None
        cls.COUNTERS = (*getattr(base, "COUNTERS", ()), *(n for n, kind in kinds.items() if kind == "CounterValue"))
        cls.GAUGES = (*getattr(base, "GAUGES", ()), *(n for n, kind in kinds.items() if kind == "GaugeValue"))
        cls.HISTOGRAMS = (
            *getattr(base, "HISTOGRAMS", ()),
            *((n, _KINDS[kind]) for n, kind in kinds.items() if kind.endswith("Histogram")),
        )
        return cls


_KINDS = {"CounterValue": "", "GaugeValue": "", "Histogram": "unspecified", "MillisecondsHistogram": "ms"}


class StatsStruct(metaclass=StatsStructMeta):
    """Base of the structs; all numbers start at zero. Can be made without a store, which is handy in a test."""

    COUNTERS: ClassVar[tuple[str, ...]]
    GAUGES: ClassVar[tuple[str, ...]]
    HISTOGRAMS: ClassVar[tuple[tuple[str, str], ...]]
    USED_WITH: ClassVar[Mapping[str, str | Callable[[Any], bool]]] = {}
    """Field to the counter whose use implies the field's, to a question about the struct of the counters, or to the
    empty string for one that is always used."""

    def __init__(self) -> None:
        for name in self.COUNTERS:
            setattr(self, name, 0)
        for name in self.GAUGES:
            setattr(self, name, 0)
        for name, unit in self.HISTOGRAMS:
            setattr(self, name, Histogram(unit))


class Counter:
    """A single counter, for a name that is not known before it is needed."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        self.value += 1

    def add(self, amount: int) -> None:
        self.value += amount


class Gauge:
    """A single gauge."""

    __slots__ = ("used", "value")

    def __init__(self) -> None:
        self.value = 0
        self.used = False

    def set(self, value: int) -> None:
        self.value = value
        self.used = True

    def inc(self) -> None:
        self.set(self.value + 1)

    def dec(self) -> None:
        self.set(self.value - 1)


class TextReadout:
    """A single text."""

    __slots__ = ("used", "value")

    def __init__(self) -> None:
        self.value = ""
        self.used = False

    def set(self, value: str) -> None:
        self.value = value
        self.used = True


class Provider:
    """Stats that are computed when they are read."""

    __slots__ = ("gauges", "read", "reset")

    def __init__(self, read: NumberProvider, reset: Callable[[], None] | None, gauges: bool) -> None:
        self.read = read
        self.reset = reset
        self.gauges = gauges


class HostMetrics:
    """What the endpoints of one cluster count, read from them when somebody looks."""

    __slots__ = ("read",)

    def __init__(self, read: HostMetricProvider) -> None:
        self.read = read


class StatsMatcher(Protocol):
    """Which stats may exist (`stats_matcher` of `stats_config`)."""

    def rejects(self, name: str) -> bool: ...


class HistogramSettings(Protocol):
    """Bucket bounds of a histogram (`histogram_bucket_settings` of `stats_config`)."""

    def buckets(self, name: str) -> tuple[float, ...]: ...


class _Entry:
    """Something that reports stats, and how many scopes want it."""

    __slots__ = ("references", "source", "used", "used_with")

    def __init__(self, source: Any) -> None:
        self.source = source
        self.references = 0
        self.used: set[str] = set()
        self.used_with: object = source


_Source = TypeVar("_Source")
_Struct = TypeVar("_Struct", bound=StatsStruct)


def sanitize(name: str) -> str:
    """What Envoy makes of characters that would confuse stat sinks (`Utility::sanitizeStatsName`)."""
    return name.removesuffix(".").replace("://", "_").replace(":/", "_").replace(":", "_").replace("\0", "_")


class Scope:
    """A name prefix, and what its owner has taken under it."""

    __slots__ = ("_children", "_parent", "_store", "_taken", "prefix")

    def __init__(self, store: Store, prefix: str, parent: Scope | None = None) -> None:
        self.prefix = prefix
        """Ends with a dot unless it is empty."""
        self._store = store
        self._taken: dict[tuple[object, str], _Entry] = {}
        self._children: dict[Scope, None] = {}
        self._parent = parent

    def scope(self, prefix: str) -> Scope:
        """A scope below this one; removed with it."""
        prefix = sanitize(prefix)
        child = Scope(self._store, f"{self.prefix}{prefix}." if prefix else self.prefix, self)
        self._children[child] = None
        return child

    def struct(self, cls: type[_Struct], *, used_with: StatsStruct | None = None) -> _Struct:
        """The struct `cls` under this prefix; `used_with` has the counters of `USED_WITH`, if it is another."""
        struct = self._take(cls, "", cls)
        if used_with is not None:
            self._taken[cls, self.prefix].used_with = used_with
        for name, _ in cls.HISTOGRAMS:
            self._store.configure_histogram(self.prefix + name, getattr(struct, name))
        return struct

    def counter(self, name: str) -> Counter:
        return self._take(Counter, name, Counter)

    def gauge(self, name: str) -> Gauge:
        return self._take(Gauge, name, Gauge)

    def text_readout(self, name: str) -> TextReadout:
        return self._take(TextReadout, name, TextReadout)

    def histogram(self, name: str, unit: str = "unspecified") -> Histogram:
        """`unit` is one of unspecified, bytes, us, ms, percent."""
        histogram = self._take(Histogram, name, lambda: Histogram(unit))
        self._store.configure_histogram(self.prefix + name, histogram)
        return histogram

    def provider(self, read: NumberProvider, *, reset: Callable[[], None] | None = None, gauges: bool = False) -> None:
        """Report what `read()` gives: names below this scope, with their values.

        A name exists from when it is first reported. `reset` sets the counters to zero (`/reset_counters`).
        """
        self._take(object(), "", lambda: Provider(read, reset, gauges))

    def host_metrics(self, read: HostMetricProvider) -> None:
        """Report what `read()` gives, with whole names."""
        self._take(object(), "", lambda: HostMetrics(read))

    def remove(self) -> None:
        """The owner goes away: forget what no other scope wants."""
        if self._parent is not None:
            self._parent._children.pop(self, None)
        for child in tuple(self._children):
            child.remove()
        for key, entry in self._taken.items():
            entry.references -= 1
            if not entry.references:
                del self._store.entries[key]
        self._taken.clear()

    def _take(self, kind: object, name: str, make: Callable[[], _Source]) -> _Source:
        key = (kind, self.prefix + name)
        entry = self._store.entries.get(key)
        if entry is None:
            entry = self._store.entries[key] = _Entry(make())
        if key not in self._taken:
            self._taken[key] = entry
            entry.references += 1
        source: _Source = entry.source
        return source


class Store:
    """All stats of one server."""

    def __init__(
        self, matcher: StatsMatcher | None = None, histogram_settings: HistogramSettings | None = None
    ) -> None:
        self.entries: dict[tuple[object, str], _Entry] = {}
        self._matcher = matcher
        self._histogram_settings = histogram_settings
        self._accepted: dict[str, bool] = {}
        self._root = Scope(self, "")

    def configure(self, matcher: StatsMatcher | None, histogram_settings: HistogramSettings | None) -> None:
        """Take the settings of the bootstrap, which is read after the store is made."""
        self._matcher = matcher
        self._histogram_settings = histogram_settings
        self._accepted.clear()
        for name, histogram in self._all_histograms():
            self.configure_histogram(name, histogram)

    def scope(self, prefix: str) -> Scope:
        """A new scope; its owner removes it."""
        prefix = sanitize(prefix)
        return Scope(self, f"{prefix}." if prefix else "")

    def counter(self, name: str) -> Counter:
        return self._root.counter(name)

    def gauge(self, name: str) -> Gauge:
        return self._root.gauge(name)

    def histogram(self, name: str, unit: str = "unspecified") -> Histogram:
        return self._root.histogram(name, unit)

    def text_readout(self, name: str) -> TextReadout:
        return self._root.text_readout(name)

    def counters(self) -> list[Sample]:
        """Every counter that the matcher lets exist, by name."""
        return self._numbers("COUNTERS", Counter, gauges=False)

    def gauges(self) -> list[Sample]:
        """Every gauge that the matcher lets exist, by name."""
        return self._numbers("GAUGES", Gauge, gauges=True)

    def host_metrics(self) -> list[HostMetric]:
        """The numbers of endpoints, host by host, as far as clusters report them; `stats_matcher` has no say."""
        sources = [entry.source for entry in self.entries.values() if isinstance(entry.source, HostMetrics)]
        return [metric for source in sources for metric in source.read()]

    def text_readouts(self) -> list[TextSample]:
        return sorted(
            TextSample(name, entry.source.value, entry.source.used)
            for (kind, name), entry in self.entries.items()
            if kind is TextReadout and self._accepts(name)
        )

    def histograms(self) -> list[HistogramSample]:
        found = [HistogramSample(name, histogram) for name, histogram in self._all_histograms() if self._accepts(name)]
        found.sort(key=lambda sample: sample.name)
        return found

    def value(self, name: str) -> int:
        """Of the counter or gauge of that name; KeyError if there is none. Reads only what can have that name."""
        found: int | None = None
        for (_, prefix), entry in self.entries.items():
            source = entry.source
            if not name.startswith(prefix):
                continue
            rest = name[len(prefix) :]
            if isinstance(source, StatsStruct):
                values = [getattr(source, rest)] if rest in source.COUNTERS or rest in source.GAUGES else []
            elif isinstance(source, (Counter, Gauge)):
                values = [source.value] if not rest else []
            elif isinstance(source, Provider):
                values = [value for given, value in source.read() if given == rest]
            elif isinstance(source, HostMetrics):
                values = [metric.sample.value for metric in source.read() if metric.sample.name == name]
            else:
                continue
            for value in values:
                found = value if found is None else found + value
        if found is None or not self._accepts(name):
            raise KeyError(name)
        return found

    def merge_histograms(self) -> None:
        """Make what the histograms recorded visible (`Store::mergeHistograms`)."""
        for _, histogram in self._all_histograms():
            histogram.merge()

    def reset_counters(self) -> None:
        """Set every counter to zero; it stays used if it was."""
        self.counters()
        for (kind, _), entry in self.entries.items():
            source = entry.source
            if isinstance(source, StatsStruct):
                for name in source.COUNTERS:
                    setattr(source, name, 0)
            elif kind is Counter:
                source.value = 0
            elif isinstance(source, Provider) and source.reset is not None:
                source.reset()

    def configure_histogram(self, name: str, histogram: Histogram) -> None:
        settings = self._histogram_settings
        histogram.supported_buckets = DEFAULT_BUCKETS if settings is None else settings.buckets(name)

    def _numbers(self, fields: str, single: type[Counter] | type[Gauge], *, gauges: bool) -> list[Sample]:
        values: dict[str, int] = {}
        used: set[str] = set()
        for (kind, prefix), entry in self.entries.items():
            source = entry.source
            pairs: Iterable[tuple[str, int]]
            if isinstance(source, StatsStruct):
                names: tuple[str, ...] = getattr(source, fields)
                pairs = [(prefix + name, getattr(source, name)) for name in names]
                entry.used.update(_used_with(source, entry, prefix))
            elif kind is single:
                pairs = ((prefix, source.value),)
                if gauges and source.used:
                    entry.used.add(prefix)
            elif isinstance(source, Provider) and source.gauges is gauges:
                pairs = [(prefix + name, value) for name, value in source.read()]
            else:
                continue
            for name, value in pairs:
                values[name] = values[name] + value if name in values else value
                if value:
                    entry.used.add(name)
            used |= entry.used
        matched = values if self._matcher is None else [name for name in values if self._accepts(name)]
        return [Sample(name, values[name], name in used) for name in sorted(matched)]

    def _accepts(self, name: str) -> bool:
        if self._matcher is None:
            return True
        accepted = self._accepted.get(name)
        if accepted is None:
            accepted = self._accepted[name] = not self._matcher.rejects(name)
        return accepted

    def _all_histograms(self) -> Iterator[tuple[str, Histogram]]:
        for (kind, prefix), entry in self.entries.items():
            source = entry.source
            if isinstance(source, StatsStruct):
                for name, _ in source.HISTOGRAMS:
                    yield prefix + name, getattr(source, name)
            elif kind is Histogram:
                yield prefix, source


def _used_with(struct: StatsStruct, entry: _Entry, prefix: str) -> Iterator[str]:
    for field, counter in struct.USED_WITH.items():
        if callable(counter):
            if counter(entry.used_with):
                yield prefix + field
        elif not counter or getattr(entry.used_with, counter) or prefix + counter in entry.used:
            yield prefix + field
