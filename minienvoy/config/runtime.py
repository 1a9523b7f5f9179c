"""Runtime: keys that change behaviour while the proxy runs, in layers of which the last that has a key wins.

Envoy: `Runtime::LoaderImpl`, `SnapshotImpl`, `ProtoLayer`, `DiskLayer`, `AdminLayer` (source/common/runtime). Whoever
uses runtime keeps the `Loader` and asks `loader.snapshot`, which is replaced as a whole when a layer changes. Not
implemented: RTDS layers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from minienvoy.errors import ConfigError
from minienvoy.lazy_pattern import lazy_pattern
from minienvoy.record import field, record

from .fields import honours

if TYPE_CHECKING:
    from pathlib import Path

MAX_DIRECTORY_DEPTH = 16
MAX_VALUE_SIZE = 1 << 20
"""Bytes of a file of a disk layer that are read."""

_DOUBLE = lazy_pattern(
    r"[-+]?(\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|0[xX][0-9a-fA-F]+|inf(inity)?|nan)", re.I | re.A
)
_FIELD_BLOCK = lazy_pattern(r"^fields \{\n(?: .*\n)*\}\n", re.M)
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
_BY_NUMBER = tuple(_DENOMINATORS.values())

honours("envoy.config.bootstrap.v3.LayeredRuntime", "layers")
honours("envoy.config.bootstrap.v3.RuntimeLayer", "name", "static_layer", "disk_layer", "admin_layer")
honours("envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer")
honours("envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer", "symlink_root", "subdirectory", "append_service_cluster")
honours("envoy.type.v3.Percent", "value")
honours("envoy.type.v3.FractionalPercent", "numerator", "denominator")
for _kind in ("FractionalPercent", "FeatureFlag", "Double", "UInt32", "Percent"):
    honours(f"envoy.config.core.v3.Runtime{_kind}", "default_value", "runtime_key")


@record
class FractionalPercent:
    """`numerator` of `denominator` (100, 10 000 or 1 000 000); Envoy: `envoy.type.v3.FractionalPercent`."""

    numerator: int = 0
    denominator: int = 100

    @classmethod
    def from_proto(cls, proto: Any) -> FractionalPercent:
        return cls(proto.numerator, _BY_NUMBER[proto.denominator])

    def enabled(self, random_value: int) -> bool:
        """Whether `random_value`, drawn evenly from a range far larger than the denominator, falls in the fraction."""
        return random_value % self.denominator < self.numerator


@record
class RuntimeFractionalPercent:
    """A fraction that a runtime key may replace: by a fraction, or by a whole percentage."""

    default: FractionalPercent = FractionalPercent()
    runtime_key: str = ""

    @classmethod
    def from_proto(cls, proto: Any) -> RuntimeFractionalPercent:
        return cls(FractionalPercent.from_proto(proto.default_value), proto.runtime_key)


@record
class RuntimeFeatureFlag:
    """A bool that a runtime key may replace."""

    default: bool = True
    runtime_key: str = ""

    @classmethod
    def from_proto(cls, proto: Any) -> RuntimeFeatureFlag:
        return cls(proto.default_value.value, proto.runtime_key)

    def value(self, snapshot: Snapshot) -> bool:
        return snapshot.get_boolean(self.runtime_key, self.default)


@record
class RuntimeDouble:
    """A float that a runtime key may replace; also `RuntimePercent`, where it is 0-100."""

    default: float = 0.0
    runtime_key: str = ""

    @classmethod
    def from_proto(cls, proto: Any) -> RuntimeDouble:
        """Of a `RuntimeDouble`, or a `RuntimePercent`, whose default value is a message."""
        default = proto.default_value
        return cls(getattr(default, "value", default), proto.runtime_key)

    def value(self, snapshot: Snapshot) -> float:
        return snapshot.get_double(self.runtime_key, self.default)


@record
class RuntimeUInt32:
    """An integer that a runtime key may replace; larger runtime values count as 2**32 - 1."""

    default: int = 0
    runtime_key: str = ""

    @classmethod
    def from_proto(cls, proto: Any) -> RuntimeUInt32:
        return cls(proto.default_value, proto.runtime_key)

    def value(self, snapshot: Snapshot) -> int:
        return min(snapshot.get_integer(self.runtime_key, self.default), 2**32 - 1)


@record
class Entry:
    """A value as text, and as everything else that it can be read as."""

    raw: str
    integer: int | None = None
    double: float | None = None
    boolean: bool | None = None
    fraction: FractionalPercent | None = None


@record(frozen=False)
class Layer:
    """A named set of keys."""

    name: str
    values: dict[str, Entry] = field(default_factory=dict)


@record(frozen=False)
class LoaderStats:
    """The `runtime.*` statistics."""

    admin_overrides_active: int = 0
    load_error: int = 0
    load_success: int = 0
    num_keys: int = 0
    num_layers: int = 0
    override_dir_exists: int = 0
    override_dir_not_exists: int = 0


class Snapshot:
    """What every key is worth at one moment. Unknown keys, and values of another type, give the default."""

    __slots__ = ("_values", "layers")

    def __init__(self, layers: tuple[Layer, ...] = ()) -> None:
        self.layers = layers
        self._values: dict[str, Entry] = {}
        for layer in layers:
            self._values.update(layer.values)

    def __len__(self) -> int:
        return len(self._values)

    def get_string(self, key: str, default: str = "") -> str:
        entry = self._values.get(key)
        return default if entry is None else entry.raw

    def get_integer(self, key: str, default: int) -> int:
        """0 to 2**64 - 1."""
        entry = self._values.get(key)
        return default if entry is None or entry.integer is None else entry.integer

    def get_double(self, key: str, default: float) -> float:
        entry = self._values.get(key)
        return default if entry is None or entry.double is None else entry.double

    def get_boolean(self, key: str, default: bool) -> bool:
        entry = self._values.get(key)
        return default if entry is None or entry.boolean is None else entry.boolean

    def feature_enabled(self, key: str, default: int, random_value: int, buckets: int = 100) -> bool:
        """Whether `random_value` falls in the first `default` of `buckets`, or in as many as the key says."""
        return random_value % buckets < min(self.get_integer(key, default), buckets)

    def fraction_enabled(self, fraction: RuntimeFractionalPercent, random_value: int) -> bool:
        """Whether `random_value` falls in the fraction, or in what its key says: a fraction, or a percentage."""
        entry = self._values.get(fraction.runtime_key) if fraction.runtime_key else None
        if entry is not None:
            if entry.fraction is not None:
                return entry.fraction.enabled(random_value)
            if entry.integer is not None:
                return random_value % 100 < entry.integer
        return fraction.default.enabled(random_value)

    def to_json(self) -> dict[str, Any]:
        """What `/runtime` shows: the names of the layers, and for each key the text in every layer and the last."""
        entries = {}
        for key in sorted(self._values):
            in_layers = [layer.values[key].raw if key in layer.values else "" for layer in self.layers]
            # Envoy takes the last text that is not empty, not the entry that it looks keys up in.
            final = next((raw for raw in reversed(in_layers) if raw), "")
            entries[key] = {"layer_values": in_layers, "final_value": final}
        return {"layers": [layer.name for layer in self.layers], "entries": entries}


class Loader:
    """Makes snapshots of the layers.

    Args:
        config: an `envoy.config.bootstrap.v3.LayeredRuntime`; None: no layers.
        service_cluster: the node's cluster, for `append_service_cluster`.

    Raises:
        ConfigError: two layers of the same name, two admin layers, a static value that is null or a list.
    """

    def __init__(self, config: Any = None, service_cluster: str = "") -> None:
        self.stats = LoaderStats()
        self._service_cluster = service_cluster
        self._admin: Layer | None = None
        self._makers: list[Callable[[], Layer | None]] = []
        self._disk_layers = 0
        self._callbacks: list[Callable[[Snapshot], None]] = []
        self.watched: list[str] = []
        names: set[str] = set()
        for number, layer in enumerate(config.layers if config is not None else ()):
            path = f"layered_runtime.layers[{number}]"
            if layer.name in names:
                raise ConfigError(f"Duplicate layer name: {layer.name}", path)
            names.add(layer.name)
            self._add(layer, path)
        if config is not None and not config.layers:
            self._add_admin(Layer(""))  # layers were asked for, and none is named
        self.snapshot = Snapshot()
        self.reload()
        self.reload()  # Envoy loads once more when the clusters are there, and its statistics show it

    def _add(self, layer: Any, path: str) -> None:
        kind = layer.WhichOneof("layer_specifier")
        if kind == "static_layer":
            made = Layer(layer.name, static_values(layer.static_layer, f"{path}.static_layer"))
            self._makers.append(lambda: made)
        elif kind == "disk_layer":
            from pathlib import Path

            disk = layer.disk_layer
            directory = Path(disk.symlink_root, disk.subdirectory)
            if disk.append_service_cluster:
                directory /= self._service_cluster
            self.watched.append(disk.symlink_root)
            self._makers.append(lambda: self._disk(layer.name, directory))
        elif kind == "admin_layer":
            if self._admin is not None:
                raise ConfigError(
                    "Too many admin layers specified in LayeredRuntime, at most one may be specified", path
                )
            self._add_admin(Layer(layer.name))

    def _add_admin(self, admin: Layer) -> None:
        self._admin = admin
        self._makers.append(lambda: Layer(admin.name, dict(admin.values)))

    def _disk(self, name: str, directory: Path) -> Layer | None:
        if not directory.is_dir():
            return None
        self._disk_layers += 1
        return Layer(name, disk_values(directory))

    def reload(self) -> Snapshot:
        """Read the layers again: disk layers when something was moved into a directory of `watched`.

        A disk layer that can not be read is left out, and `load_error` counts it.
        """
        self._disk_layers = 0
        layers, errors = [], 0
        for make in self._makers:
            try:
                layer = make()
            except (ConfigError, OSError):
                errors += 1
                continue
            if layer is not None:
                layers.append(layer)
        stats = self.stats
        if errors:
            stats.load_error += 1
        else:
            stats.load_success += 1
        if self._disk_layers > 1:
            stats.override_dir_exists += 1
        else:
            stats.override_dir_not_exists += 1
        self.snapshot = Snapshot(tuple(layers))
        stats.num_layers = len(layers)
        stats.num_keys = len(self.snapshot)
        for callback in tuple(self._callbacks):
            callback(self.snapshot)
        return self.snapshot

    def modify(self, values: Mapping[str, str]) -> None:
        """Set keys in the admin layer, or remove those whose value is empty: `/runtime_modify`.

        Raises:
            ConfigError: there is no admin layer.
        """
        if self._admin is None:
            raise ConfigError("No admin layer specified")
        for key, value in values.items():
            self._admin.values.pop(key, None)
            if value:
                self._admin.values[key] = entry_of_text(value)
        self.stats.admin_overrides_active = 1 if self._admin.values else 0
        self.reload()

    def on_change(self, callback: Callable[[Snapshot], None]) -> None:
        """Call `callback` with every new snapshot."""
        self._callbacks.append(callback)

    def forget(self, callback: Callable[[Snapshot], None]) -> None:
        """Do not call it any more."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)


def static_values(struct: Any, path: str = "") -> dict[str, Entry]:
    """The keys of a `Struct`: `{a: {b: 1}}` is `a.b`. A struct with a numerator or denominator is a fraction.

    Raises:
        ConfigError: a value is null or a list.
    """
    values: dict[str, Entry] = {}
    stack = [(key, struct.fields[key]) for key in struct.fields]
    while stack:
        key, value = stack.pop()
        kind = value.WhichOneof("kind")
        if kind in (None, "null_value", "list_value"):
            raise ConfigError(f"Invalid runtime entry value for {key}", path)
        if kind == "struct_value":
            inner = value.struct_value.fields
            if inner and "numerator" not in inner and "denominator" not in inner:
                stack += [(f"{key}.{name}", inner[name]) for name in inner]
                continue
        values[key] = _entry(value, kind)
    return values


def _entry(value: Any, kind: str) -> Entry:
    if kind == "number_value":
        return _number(f"{value.number_value:g}", value.number_value)
    if kind == "bool_value":
        return Entry(str(value.bool_value).lower(), boolean=value.bool_value)
    if kind == "string_value":
        return _text(value.string_value)
    # The text form, in an order of its own: that of the map is not always the same.
    raw = "".join(sorted(_FIELD_BLOCK.findall(str(value.struct_value))))
    return Entry(raw, fraction=_fraction(value.struct_value))


def _number(raw: str, number: float) -> Entry:
    integer = int(number) if 0 <= number < 2**64 else None
    boolean = number != 0 if number < 2**31 - 1 and number == math.trunc(number) else None
    return Entry(raw, integer, number, boolean)


def _text(text: str) -> Entry:
    stripped = text.strip()
    if _DOUBLE.fullmatch(stripped):
        number = float(int(stripped, 16)) if "x" in stripped.lower() else float(stripped)
        return _number(text, number) if math.isfinite(number) else Entry(text, double=number)
    if stripped.lower() in ("true", "false"):
        return Entry(text, boolean=stripped.lower() == "true")
    return Entry(text)


def _fraction(struct: Any) -> FractionalPercent | None:
    from .api import message_class, struct_to_dict
    from .proto_fill import FillError, fill

    proto = message_class("envoy.type.v3.FractionalPercent")()
    try:
        if fill(proto, struct_to_dict(struct)) or proto.denominator >= len(_BY_NUMBER):
            return None
    except FillError:
        return None
    return FractionalPercent.from_proto(proto)


def entry_of_text(text: str) -> Entry:
    """A value of the admin layer or of a file: YAML, whose text is kept."""
    from .api import message_class
    from .proto_fill import fill
    from .yaml_reader import read_yaml

    try:
        plain = read_yaml(text)
    except ConfigError:
        return Entry(text)
    value = message_class("google.protobuf.Value")()
    fill(value, plain)
    kind = value.WhichOneof("kind")
    if kind not in ("number_value", "bool_value", "struct_value"):
        return _text(text)
    read = _entry(value, kind)
    return Entry(text, read.integer, read.double, read.boolean, read.fraction)


def disk_values(directory: Path, prefix: str = "", depth: int = 1) -> dict[str, Entry]:
    """The keys of a directory: a file is a key, a directory a part of one; lines that begin with `#` are comments.

    Raises:
        ConfigError: deeper than `MAX_DIRECTORY_DEPTH`, or below `/dev`, `/proc`, `/sys`.
        OSError: a file can not be read.
    """
    if depth > MAX_DIRECTORY_DEPTH:
        raise ConfigError(f"Walk recursion depth exceeded {MAX_DIRECTORY_DEPTH}")
    if directory.resolve().parts[:2] in (("/", "dev"), ("/", "proc"), ("/", "sys")):
        raise ConfigError(f"Invalid path: {directory}")
    values: dict[str, Entry] = {}
    for entry in sorted(directory.iterdir()):
        key = f"{prefix}.{entry.name}" if prefix else entry.name
        if entry.is_dir():
            values.update(disk_values(entry, key, depth + 1))
        elif entry.is_file():
            with entry.open("rb") as file:
                text = file.read(MAX_VALUE_SIZE).decode(errors="replace")
            values[key] = entry_of_text(_without_comments(text))
    return values


def _without_comments(text: str) -> str:
    lines = [line for line in text.split("\n") if line]
    kept = []
    for line in lines:
        if not line.startswith("#"):
            kept.append(line.rstrip() if line == lines[-1] else line + "\n")
    return "".join(kept)
