"""Nothing that is set is ignored.

No Envoy counterpart: Envoy implements its whole API. Here the module that compiles a message declares which of its
fields it honours, and `unsupported` compares a configuration with the declarations: everything that is set and not
honoured is told at once, before anything listens. The same declarations generate `docs/supported.md`.

    honours(
        "envoy.config.cluster.v3.Cluster",
        "name", "connect_timeout", "load_assignment",
        values={"lb_policy": ("ROUND_ROBIN",), "respect_dns_ttl": (False,)},
        ignored={"track_timeout_budgets": "deprecated; it only adds a histogram"},
        whole=("metadata",),
    )

What Envoy refuses about a message as a whole, and what can be told although not all of its fields are honoured, is a
function that `forbids` declares: such a contradiction is told before anything else, in Envoy's words.

Well-known types (`google.protobuf.*`) are leaves, apart from `Any`, whose payload is looked at under the declarations
of its own type, made by the module that the catalogue names for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from minienvoy import registry
from minienvoy.errors import ConfigError
from minienvoy.record import record

from . import api, schema
from .source import Source

MAX_DEPTH = 100
"""Messages within messages, through `Any`s: what a text can hold; only a binary file could nest deeper."""

Predicate = Callable[[Any], "str | None"]
"""Takes the message that has the field; says why the field is not honoured there, or None if it is."""


@record
class Unsupported:
    """A field that is set and has no effect here."""

    path: str
    reason: str


@record
class Note:
    """A field that is set, and that is ignored on purpose."""

    path: str
    reason: str


class Rule:
    """How one field is honoured: always, or for some values, or depending on the rest of the message."""

    __slots__ = ("skips", "values", "whens", "whole")

    def __init__(self) -> None:
        self.values: set[object] | None = set()  # None: any
        self.whens: list[Predicate] = []
        self.whole = False
        self.skips: Callable[[Any], bool] | None = None


class Declaration:
    """What is known of the fields of one message type."""

    __slots__ = ("honoured", "ignored")

    def __init__(self) -> None:
        self.honoured: dict[str, Rule] = {}
        self.ignored: dict[str, str] = {}


_DECLARATIONS: dict[str, Declaration] = {}


def honours(
    full_name: str,
    *names: str,
    values: Mapping[str, tuple[object, ...]] | None = None,
    when: Mapping[str, Predicate] | None = None,
    ignored: Mapping[str, str] | None = None,
    whole: tuple[str, ...] = (),
    skips: Mapping[str, Callable[[Any], bool]] | None = None,
) -> None:
    """Declare which fields of a message have the effect they have in Envoy. Declarations of several modules add up.

    Args:
        full_name: of the message.
        names: fields that are honoured; a message in one is looked into. `"x.*"` is the same as `x` in `whole`.
        values: fields that are honoured for these values only: names of enum values, numbers, bools, strings; a
            wrapper (`BoolValue`) is compared by what it holds.
        when: fields that are honoured unless the predicate, given the message, says why not.
        ignored: fields that need no code here, and why: they give a note, not an error.
        whole: fields that are honoured with all that is below them.
        skips: honoured fields that are not looked into if the function, given the message, says so, because Envoy
            does not look into them either.
    """
    declaration = _DECLARATIONS.setdefault(full_name, Declaration())
    for name in (*names, *whole):
        rule = declaration.honoured.setdefault(name.removesuffix(".*"), Rule())
        rule.values = None
        rule.whole = rule.whole or name in whole or name.endswith(".*")
    for name, allowed in (values or {}).items():
        rule = declaration.honoured.setdefault(name, Rule())
        if rule.values is not None:
            rule.values.update(allowed)
    for name, predicate in (when or {}).items():
        declaration.honoured.setdefault(name, Rule()).whens.append(predicate)
    for name, skip in (skips or {}).items():
        declaration.honoured.setdefault(name, Rule()).skips = skip
    declaration.ignored.update(ignored or {})


Check = Callable[[Any, str], None]
"""Takes a message and its path; raises ConfigError if it contradicts itself."""
_FORBIDDEN: dict[str, list[Check]] = {}


def forbids(full_name: str) -> Callable[[Check], Check]:
    """Look at every message of the type with the decorated function before it is said what is not honoured."""

    def add(check: Check) -> Check:
        _FORBIDDEN.setdefault(full_name, []).append(check)
        return check

    return add


_DECLARED_IN: dict[str, str] = {}


def declared_in(module: str, *full_names: str) -> None:
    """Import `module` when one of these messages is met: it declares what is honoured of them and below them."""
    for full_name in full_names:
        _DECLARED_IN[full_name] = module


honours("envoy.config.core.v3.TypedExtensionConfig", "name", "typed_config")


def declarations() -> dict[str, Declaration]:
    """A copy of full message name -> declaration, as far as modules have been imported."""
    return dict(_DECLARATIONS)


def unsupported(message: Any, path: str = "") -> list[Unsupported]:
    """Everything below `message` that is set and not honoured, in the order of the fields.

    Raises:
        ConfigError: an `Any` that can not be unpacked, or a message that contradicts itself (`forbids`).
    """
    found = _Walk()
    found.message(message, path, 0)
    return found.unsupported


def notes(message: Any, path: str = "") -> list[Note]:
    """Everything below `message` that is set and ignored on purpose."""
    found = _Walk()
    found.message(message, path, 0)
    return found.notes


def require_supported(
    message: Any, source: Source | None = None, *, path: str = "", warn: bool = False
) -> list[Unsupported]:
    """Refuse what is set and not honoured, all of it in one error, each with where it stands in `source`.

    Args:
        warn: answer the list instead (`--unsupported warn`).

    Raises:
        ConfigError: something is set and not honoured, and `warn` is false; or as `unsupported`.
    """
    try:
        found = unsupported(message, path)
    except ConfigError as error:
        location = source.locate(error.path) if source is not None else ""
        raise ConfigError(error.problem, error.path, location, error.remedy) from None
    if not found or warn:
        return found
    lines = [described(item, source) for item in found]
    what = "1 field is" if len(found) == 1 else f"{len(found)} fields are"
    raise ConfigError(
        f"{what} set that minienvoy does not honour:\n  " + "\n  ".join(lines) + "\n",
        remedy="docs/supported.md lists what is honoured; --unsupported warn starts without them",
    )


def described(item: Unsupported | Note, source: Source | None = None) -> str:
    """`file:line:column: path: reason`."""
    location = source.locate(item.path) if source is not None else ""
    return ": ".join(part for part in (location, item.path, item.reason) if part)


class _Walk:
    """Goes over everything that is set in a message, and sorts it."""

    def __init__(self) -> None:
        self.unsupported: list[Unsupported] = []
        self.notes: list[Note] = []

    def message(self, message: Any, path: str, depth: int, extension: str = "") -> None:
        """`extension` is the name that stands beside it, if it is the configuration of one."""
        name = message.DESCRIPTOR.full_name
        if name == "google.protobuf.Any":
            self._any(message, path, depth, extension)
            return
        if name.startswith("google.protobuf."):
            return
        if depth > MAX_DEPTH:
            raise ConfigError(f"messages are nested deeper than {MAX_DEPTH}", path)
        module = _DECLARED_IN.get(name)
        if module is not None:
            import_module(module)
        for check in _FORBIDDEN.get(name, ()):
            check(message, path)
        declaration = _DECLARATIONS.get(name)
        for field, value in message.ListFields():
            here = f"{path}.{field.name}" if path else field.name
            rule = declaration.honoured.get(field.name) if declaration is not None else None
            if rule is None:
                reason = declaration.ignored.get(field.name) if declaration is not None else None
                if reason is None:
                    self.unsupported.append(Unsupported(here, "not supported"))
                else:
                    self.notes.append(Note(here, reason))
                continue
            refusal = _refusal(rule, field, value, message)
            if refusal:
                self.unsupported.append(Unsupported(here, refusal))
            elif not rule.whole and not (rule.skips is not None and rule.skips(message)):
                extension = message.name if field.name == "typed_config" and hasattr(message, "name") else ""
                for place, item in schema.submessages(field, value, here):
                    self.message(item, place, depth + 1, extension)

    def _any(self, message: Any, path: str, depth: int, extension: str) -> None:
        if not message.type_url:
            return
        full_name = api.type_of(message, path)
        if not has_home(full_name):
            reason = f"no extension of minienvoy takes {full_name}"
            if extension:
                # What Envoy says of one that it was not linked with.
                reason += f": {registry.no_implementation(extension, full_name)}"
            self.unsupported.append(Unsupported(path, reason))
            return
        payload = api.unpack(message, path)
        outer = message.type_url.rpartition("/")[2]
        if outer in api.TYPED_STRUCTS:
            if payload.DESCRIPTOR.full_name == outer:
                return  # its type is no proto: the extension's own class says what it takes
            path = f"{path}.value"
        self.message(payload, path, depth + 1)


def has_home(full_name: str) -> bool:
    """Whether some module takes the configuration type; it is imported, so that its declarations are there."""
    if registry.import_home_of(full_name):
        return True
    return any(entry.config_type == full_name for one in registry.registries().values() for entry in one.entries())


def _refusal(rule: Rule, field: Any, value: Any, message: Any) -> str:
    """Why the value of an honoured field is not, empty if it is."""
    if rule.values is None:
        return ""
    refused: list[object] = []
    if rule.values:
        refused = [shown for shown, plain in _plain_values(field, value) if not {shown, plain} & rule.values]
        if not refused:
            return ""
    problems = [predicate(message) for predicate in rule.whens]
    if None in problems:
        return ""
    if rule.values:
        allowed = ", ".join(sorted(map(_shown, rule.values)))
        return f"{', '.join(map(_shown, refused))} is not supported, only {allowed}"
    return next((problem for problem in problems if problem), "not supported")


def _plain_values(field: Any, value: Any) -> list[tuple[object, object]]:
    """The elements of a field as (name or value, number or value): what `values` is compared with."""
    values = value if schema.is_repeated(field) else [value]
    if field.message_type is not None and field.message_type.full_name.startswith("google.protobuf."):
        values = [getattr(item, "value", item) for item in values]
    if field.enum_type is not None:
        names = field.enum_type.values_by_number
        return [(names[number].name if number in names else number, number) for number in values]
    return [(item, item) for item in values]


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
