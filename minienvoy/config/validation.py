"""The constraints that stand in the API itself: `validate.rules` of protoc-gen-validate (PGV).

Envoy: `MessageUtil::validate`, which calls the C++ that PGV generates. Here the rules of a message are compiled from
its declaration the first time one is validated. As in Envoy the first violation is the error, fields go before oneofs,
and the payload of an `Any` is not entered: it is validated when the factory that consumes it unpacks it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from minienvoy.errors import ConfigError

from . import schema
from .constraints import Check, Violation, duration_check, scalar_check

_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int32", "Int64", "UInt32", "UInt64", "Bool", "String", "Bytes")
)

_NANOS = 1_000_000_000
_MAX_PROTOBUF_SECONDS = 315_576_000_000
_MAX_SECONDS = (2**63 - 1) // _NANOS
"""What fits 64 bits of nanoseconds."""


def validate(message: Any, path: str = "") -> None:
    """Check `message` and everything below it, `Any` payloads excepted.

    Raises:
        ConfigError: the first violation, in Envoy's words; `path` is prefixed to the path of the offending field.
    """
    check_durations(message, path)
    try:
        _check_message(message)
    except Violation as violation:
        where = f"{path}.{violation.path}".strip(".")
        raise ConfigError(
            f"Proto constraint validation failed ({' | caused by '.join(violation.causes)})", path=where
        ) from None


def check_durations(message: Any, path: str = "") -> None:
    """Every `Duration` below `message` must be positive and fit; Envoy looks at them before it looks at any rule.

    Raises:
        ConfigError: the first that is not.
    """
    for field, value in message.ListFields():
        for here, item in schema.submessages(field, value, f"{path}.{field.name}" if path else field.name):
            _check_duration(item, here)


def _check_duration(message: Any, path: str) -> None:
    name = message.DESCRIPTOR.full_name
    if name != "google.protobuf.Duration":
        if not name.startswith("google.protobuf."):
            check_durations(message, path)
        return
    if message.seconds < 0 or message.nanos < 0:
        problem = "Expected positive duration"
    elif message.nanos >= _NANOS or message.seconds > _MAX_PROTOBUF_SECONDS:
        problem = "Duration out-of-range according to Protobuf"
    elif message.seconds > _MAX_SECONDS:
        problem = "Duration out-of-range"
    else:
        return
    shown = " ".join(str(message).split())
    raise ConfigError(f"Invalid duration: {problem}: {shown}", path)


def _check_message(message: Any) -> None:
    descriptor = message.DESCRIPTOR
    for field, check in _plan(descriptor):
        try:
            check(message)
        except Violation as violation:
            step = violation.field or field
            index = "" if violation.index is None else f"[{violation.index}]"
            name = f"{descriptor.name}ValidationError.{_camel(step)}{index}"
            if violation.oneof:
                violation.causes.insert(0, f'field: "{field}", reason: {violation.reason}')
                violation.oneof = False
            else:
                violation.causes.insert(0, f"{name}: {violation.reason}")
                if isinstance(violation.index, str):
                    index = f'["{violation.index}"]'
                violation.path = f"{step}{index}.{violation.path}".strip(".")
            violation.reason, violation.field, violation.index = "embedded message failed validation", "", None
            raise


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


@cache
def _plan(descriptor: Any) -> tuple[tuple[str, Check], ...]:
    """Field or oneof name -> check of the message that has it, in the order in which PGV checks."""
    declared = schema.declaration(descriptor.full_name)
    rules_of, disabled, ignored, required = (
        schema.extension(f"validate.{name}") for name in ("rules", "disabled", "ignored", "required")
    )
    if declared.options.Extensions[disabled] or declared.options.Extensions[ignored]:
        return ()
    rules = {
        field.name: field.options.Extensions[rules_of]
        for field in declared.field
        if field.options.HasExtension(rules_of)
    }
    plain: list[tuple[str, Check]] = []
    for field in descriptor.fields:
        if field.containing_oneof is None or (
            len(field.containing_oneof.fields) == 1
            and field.has_presence
            and (field.containing_oneof.name == f"_{field.name}")
        ):
            check = _field_check(field, rules.get(field.name))
            if check is not None:
                plain.append((field.name, check))
    for number, oneof in enumerate(descriptor.oneofs):
        if len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}":
            continue  # `optional`: the compiler's own oneof
        cases = {field.name: _field_check(field, rules.get(field.name)) for field in oneof.fields}
        must = declared.oneof_decl[number].options.Extensions[required]
        if must or any(cases.values()):
            plain.append((oneof.name, _oneof_check(oneof.name, cases, must)))
    return tuple(plain)


def _oneof_check(oneof: str, cases: dict[str, Check | None], required: bool) -> Check:
    def check(message: Any) -> None:
        case = message.WhichOneof(oneof)
        if case is None:
            if required:
                violation = Violation("is required")
                violation.oneof = True  # PGV writes this one without the name of the message
                raise violation
            return
        chosen = cases[case]
        if chosen is not None:
            try:
                chosen(message)
            except Violation as violation:
                violation.field = violation.field or case
                raise

    return check


def _field_check(field: Any, rules: Any) -> Check | None:
    """The check of one field, for the message that has it; None if nothing can be wrong with it."""
    name = field.name
    kind = field.message_type
    if rules is None and (kind is None or kind.full_name.startswith("google.protobuf.")):
        return None
    if schema.is_map(field):
        return _map_check(field, rules)
    if schema.is_repeated(field):
        return _list_check(field, rules)
    if kind is None:
        scalar = scalar_check(field, rules)
        if scalar is None:
            return None
        if field.has_presence and field.containing_oneof is not None:
            return lambda message: scalar(getattr(message, name)) if message.HasField(name) else None
        return lambda message: scalar(getattr(message, name))
    inner = _value_check(field, rules)
    required = _required(rules)
    if inner is None and not required:
        return None

    def check(message: Any) -> None:
        if message.HasField(name):
            if inner is not None:
                inner(getattr(message, name))
        elif required:
            raise Violation("value is required")

    return check


def _required(rules: Any) -> bool:
    if rules is None:
        return False
    kind = rules.WhichOneof("type")
    return rules.message.required or (kind in ("any", "duration", "timestamp") and getattr(rules, kind).required)


def _value_check(field: Any, rules: Any) -> Check | None:
    """The check of a value (or element) of message type that is there."""
    name = field.message_type.full_name
    if name in _WRAPPERS:
        scalar = scalar_check(field.message_type.fields_by_name["value"], rules)
        return None if scalar is None else lambda wrapper: scalar(wrapper.value)
    if name == "google.protobuf.Duration":
        return duration_check(rules.duration) if rules is not None and rules.HasField("duration") else None
    if name.startswith("google.protobuf.") or (rules is not None and rules.message.skip):
        return None
    return _check_message


def _elements(check: Check) -> Callable[[Any], None]:
    def all_of(values: Any) -> None:
        for number, value in enumerate(values):
            try:
                check(value)
            except Violation as violation:
                violation.index = number
                raise

    return all_of


def _list_check(field: Any, rules: Any) -> Check | None:
    name = field.name
    repeated = rules.repeated if rules is not None and rules.HasField("repeated") else None
    items = repeated.items if repeated is not None and repeated.HasField("items") else None
    element = scalar_check(field, items) if field.message_type is None else _value_check(field, items)
    checks: list[Check] = []
    if repeated is not None:
        size = _size_check(repeated, "items", "item(s)", "items")
        if size is not None:
            checks.append(size)
        if repeated.unique:
            checks.append(_unique)
    if element is not None:
        checks.append(_elements(element))
    if not checks:
        return None
    ignore_empty = repeated is not None and repeated.ignore_empty

    def check(message: Any) -> None:
        values = getattr(message, name)
        if values or not ignore_empty:
            for one in checks:
                one(values)

    return check


def _map_check(field: Any, rules: Any) -> Check | None:
    name = field.name
    entry = field.message_type.fields_by_name
    pairs = rules.map if rules is not None and rules.HasField("map") else None
    size = _size_check(pairs, "pairs", "pair(s)", "pairs") if pairs is not None else None
    of_key = scalar_check(entry["key"], pairs.keys if pairs is not None and pairs.HasField("keys") else None)
    value_rules = pairs.values if pairs is not None and pairs.HasField("values") else None
    value = entry["value"]
    of_value = scalar_check(value, value_rules) if value.message_type is None else _value_check(value, value_rules)
    if size is None and of_key is None and of_value is None:
        return None

    def check(message: Any) -> None:
        mapping = getattr(message, name)
        if size is not None:
            size(mapping)
        if of_key is None and of_value is None:
            return
        for key in mapping:
            try:
                if of_key is not None:
                    of_key(key)
                if of_value is not None:
                    of_value(mapping[key])
            except Violation as violation:
                violation.index = key
                raise

    return check


def _size_check(rules: Any, what: str, singular: str, plural: str) -> Check | None:
    low = getattr(rules, f"min_{what}")
    high = getattr(rules, f"max_{what}") if rules.HasField(f"max_{what}") else None
    if not low and high is None:
        return None
    if low and high == low:
        reason = f"value must contain exactly {low} {singular}"
    elif low and high is not None:
        reason = f"value must contain between {low} and {high} {plural}, inclusive"
    elif low:
        reason = f"value must contain at least {low} {singular}"
    else:
        reason = f"value must contain no more than {high} {singular}"

    def check(values: Any) -> None:
        if len(values) < low or (high is not None and len(values) > high):
            raise Violation(reason)

    return check


def _unique(values: Any) -> None:
    seen = set()
    for number, value in enumerate(values):
        key = value.SerializeToString(deterministic=True) if hasattr(value, "SerializeToString") else value
        if key in seen:
            raise Violation("repeated value must contain unique items", index=number)
        seen.add(key)
