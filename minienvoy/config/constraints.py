"""The rules of PGV for one value: numbers, strings, bytes, enums, durations.

Envoy: what protoc-gen-validate's `templates/cc` make of `validate.rules`; the texts are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..lazy_pattern import lazy_pattern

Check = Callable[[Any], None]
"""Takes a value (of a field, an element, a message), raises `Violation`."""

_Reason = tuple[Callable[[Any], bool], str]
"""What refuses a value, and why."""

_NANOS = 1_000_000_000


class Violation(Exception):
    """A broken rule on its way up: `reason` at the bottom, then what each message above adds."""

    def __init__(self, reason: str, field: str = "", index: int | str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.index = index
        self.oneof = False
        self.causes: list[str] = []
        self.path = ""


def scalar_check(field: Any, rules: Any) -> Check | None:
    """The check of a scalar value; None without rules for it."""
    kind = rules.WhichOneof("type") if rules is not None else None
    if kind is None or kind in ("message", "repeated", "map", "any", "duration", "timestamp"):
        return None
    of_kind = getattr(rules, kind)
    if kind == "string":
        return _string_check(of_kind)
    if kind == "bytes":
        return _bytes_check(of_kind)
    if kind == "bool":
        return _bool_check(of_kind)
    if kind == "enum":
        return _enum_check(field.enum_type, of_kind)
    check = _number_check(of_kind, _number)
    if of_kind.ignore_empty:
        return lambda value: check(value) if value else None
    return check


def _list_reasons(rules: Any, show: Callable[[Any], str]) -> list[_Reason]:
    """The rules `in` and `not_in`, as what refuses a value and why."""
    allowed, refused = tuple(getattr(rules, "in")), tuple(rules.not_in)
    reasons: list[_Reason] = []
    if allowed:
        reasons.append((lambda value: value not in allowed, f"value must be in list [{' '.join(map(show, allowed))}]"))
    elif refused:
        reasons.append((lambda value: value in refused, f"value must not be in list [{' '.join(map(show, refused))}]"))
    return reasons


def _all_of(reasons: list[_Reason]) -> Check:
    """A check of what refuses a value, and why."""

    def check(value: Any) -> None:
        for refuses, reason in reasons:
            if refuses(value):
                raise Violation(reason)

    return check


def _bool_check(rules: Any) -> Check | None:
    if not rules.HasField("const"):
        return None
    expected = rules.const
    return _all_of([(lambda value: value != expected, f"value must equal {str(expected).lower()}")])


def _enum_check(enum_type: Any, rules: Any) -> Check:
    reasons: list[_Reason] = []
    names = enum_type.values_by_number
    if rules.HasField("const"):
        reasons.append((lambda value: value != rules.const, f"value must equal {rules.const}"))
    reasons += _list_reasons(rules, lambda number: names[number].name if number in names else str(number))
    if rules.defined_only:
        known = frozenset(names)
        reasons.append((lambda value: value not in known, "value must be one of the defined enum values"))
    return _all_of(reasons)


def _number_check(rules: Any, show: Callable[[Any], str], convert: Callable[[Any], Any] = lambda value: value) -> Check:
    """Bounds of a number, or of a duration that `convert` makes one."""
    reasons = []
    if rules.HasField("const"):
        expected = convert(rules.const)
        reasons.append((lambda value: value != expected, f"value must equal {show(expected)}"))
    bounds = {name: convert(getattr(rules, name)) for name in ("gt", "gte", "lt", "lte") if rules.HasField(name)}
    reasons += _bound_reasons(bounds, show)
    reasons += _list_reasons(_Converted(rules, convert), show)
    return _all_of(reasons)


def _bound_reasons(bounds: dict[str, Any], show: Callable[[Any], str]) -> list[_Reason]:
    """`gt`, `gte`, `lt`, `lte`: a range, or what lies outside of one if the upper bound is below the lower."""
    low_name = "gt" if "gt" in bounds else "gte"
    high_name = "lt" if "lt" in bounds else "lte"
    low, high = bounds.get(low_name), bounds.get(high_name)

    # Written so that NaN passes, as it does in C++.
    def above_low(value: Any) -> bool:
        return not (value <= low if low_name == "gt" else value < low)

    def below_high(value: Any) -> bool:
        return not (value >= high if high_name == "lt" else value > high)

    if low is not None and high is not None:
        if high > low:
            left, right = "(" if low_name == "gt" else "[", ")" if high_name == "lt" else "]"
            reason = f"value must be inside range {left}{show(low)}, {show(high)}{right}"
            return [(lambda value: not (above_low(value) and below_high(value)), reason)]
        left, right = "[" if high_name == "lt" else "(", "]" if low_name == "gt" else ")"
        reason = f"value must be outside range {left}{show(high)}, {show(low)}{right}"
        return [(lambda value: not (above_low(value) or below_high(value)), reason)]
    if low is not None:
        relation = "greater than" if low_name == "gt" else "greater than or equal to"
        return [(lambda value: not above_low(value), f"value must be {relation} {show(low)}")]
    if high is not None:
        relation = "less than" if high_name == "lt" else "less than or equal to"
        return [(lambda value: not below_high(value), f"value must be {relation} {show(high)}")]
    return []


class _Converted:
    """The lists of number rules, with `convert` applied."""

    def __init__(self, rules: Any, convert: Callable[[Any], Any]) -> None:
        setattr(self, "in", [convert(value) for value in getattr(rules, "in")])
        self.not_in = [convert(value) for value in rules.not_in]


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _nanoseconds(duration: Any) -> int:
    return int(duration.seconds) * _NANOS + int(duration.nanos)


def duration_check(rules: Any) -> Check:
    check = _number_check(rules, go_duration, _nanoseconds)
    return lambda duration: check(_nanoseconds(duration))


def go_duration(nanoseconds: int) -> str:
    """The way Go writes a duration: `5m0s`, `1.5s`, `100ms`."""
    if nanoseconds == 0:
        return "0s"
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left < _NANOS:
        for unit, size in (("ms", 1_000_000), ("µs", 1000), ("ns", 1)):
            if left >= size:
                return f"{sign}{_decimal(left, size)}{unit}"
    hours, left = divmod(left, 3600 * _NANOS)
    minutes, left = divmod(left, 60 * _NANOS)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return f"{sign}{text}{_decimal(left, _NANOS)}s"


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    digits = str(fraction).zfill(len(str(unit)) - 1).rstrip("0") if fraction else ""
    return f"{whole}.{digits}" if digits else str(whole)


# The patterns behind `well_known_regex`, by (regex, strict).
_WELL_KNOWN = {
    (1, True): "^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$",
    (1, False): "^[^\x00\n\r]*$",
    (2, True): "^[^\x00-\b\n-\x1f\x7f]*$",
    (2, False): "^[^\x00\n\r]*$",
}
_GO_ESCAPES = {
    "\\": r"\\",
    '"': r"\"",
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
}


def go_quote(text: str) -> str:
    """The way Go quotes a string, which is how PGV prints patterns and prefixes."""
    quoted = "".join(_GO_ESCAPES.get(char) or (char if char.isprintable() else f"\\x{ord(char):02x}") for char in text)
    return f'"{quoted}"'


def _string_check(rules: Any) -> Check:
    reasons: list[_Reason] = []
    if rules.HasField("const"):
        reasons.append((lambda value: value != rules.const, f"value must equal {rules.const}"))
    reasons += _list_reasons(rules, str)
    reasons += _length_reasons(rules, "len", "characters", len)
    reasons += _length_reasons(rules, "bytes", "bytes", lambda value: len(value.encode()))
    reasons += _affix_reasons(rules, go_quote)
    patterns = [rules.pattern] if rules.HasField("pattern") else []
    if rules.well_known_regex:
        strict = rules.strict if rules.HasField("strict") else True
        patterns.append(_WELL_KNOWN[rules.well_known_regex, strict])
    reasons += [_pattern_reason(pattern) for pattern in patterns]
    reasons += [_well_known_reason(*_WELL_KNOWN_STRINGS[name]) for name in _WELL_KNOWN_STRINGS if getattr(rules, name)]
    check = _all_of(reasons)
    if rules.ignore_empty:
        return lambda value: check(value) if value else None
    return check


def _pattern_reason(pattern: str) -> _Reason:
    compiled = lazy_pattern(pattern.replace(r"\C", "."), re.DOTALL)
    return lambda value: compiled.fullmatch(value) is None, f"value does not match regex pattern {go_quote(pattern)}"


def _well_known_reason(is_one: Callable[[str], bool], reason: str) -> _Reason:
    return lambda value: not is_one(value), reason


def _length_reasons(rules: Any, what: str, unit: str, length: Callable[[Any], int]) -> list[_Reason]:
    exact = "len" if what == "len" else "len_bytes"
    low = getattr(rules, f"min_{what}") if rules.HasField(f"min_{what}") else None
    high = getattr(rules, f"max_{what}") if rules.HasField(f"max_{what}") else None
    if rules.DESCRIPTOR.fields_by_name.get(exact) is not None and rules.HasField(exact):
        low = high = getattr(rules, exact)
    characters = unit == "characters"
    if low is not None and low == high:
        reason = f"value must be {low} characters" if characters else f"value length must be {low} {unit}"
        return [(lambda value: length(value) != low, reason)]
    if low is not None and high is not None:
        reason = (
            f"value must have between {low} and {high} characters inclusive"
            if characters
            else f"value length must be between {low} and {high} {unit}, inclusive"
        )
        return [(lambda value: not low <= length(value) <= high, reason)]
    if low is not None:
        return [(lambda value: length(value) < low, f"value length must be at least {low} {unit}")]
    if high is not None:
        return [(lambda value: length(value) > high, f"value length must be at most {high} {unit}")]
    return []


def _affix_reasons(rules: Any, show: Callable[[Any], str]) -> list[_Reason]:
    reasons: list[_Reason] = []
    if rules.HasField("prefix"):
        reasons.append(
            (lambda value: not value.startswith(rules.prefix), f"value does not have prefix {show(rules.prefix)}")
        )
    if rules.HasField("suffix"):
        reasons.append(
            (lambda value: not value.endswith(rules.suffix), f"value does not have suffix {show(rules.suffix)}")
        )
    if rules.HasField("contains"):
        reasons.append(
            (lambda value: rules.contains not in value, f"value does not contain substring {show(rules.contains)}")
        )
    if rules.DESCRIPTOR.fields_by_name.get("not_contains") is not None and rules.HasField("not_contains"):
        reasons.append(
            (lambda value: rules.not_contains in value, f"value contains substring {show(rules.not_contains)}")
        )
    return reasons


def _bytes_check(rules: Any) -> Check:
    reasons: list[_Reason] = []
    if rules.HasField("const"):
        reasons.append((lambda value: value != rules.const, f"value must equal {rules.const!r}"))
    reasons += _list_reasons(rules, repr)
    reasons += _length_reasons(rules, "len", "bytes", len)
    reasons += _affix_reasons(rules, repr)
    return _all_of(reasons)


def _is_ip(value: str, version: int | None = None) -> bool:
    from ipaddress import ip_address

    try:
        return version in (None, ip_address(value).version)
    except ValueError:
        return False


_LABEL = lazy_pattern(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", re.ASCII)


def _is_hostname(value: str) -> bool:
    labels = value.lower().removesuffix(".").split(".")
    return len(value) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def _is_uri(value: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", value) is not None and re.search(r"[\s\x00-\x1f]", value) is None


_UUID = lazy_pattern(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_WELL_KNOWN_STRINGS: dict[str, tuple[Callable[[str], bool], str]] = {
    "ip": (_is_ip, "value must be a valid IP Address"),
    "ipv4": (lambda value: _is_ip(value, 4), "value must be a valid IPv4 Address"),
    "ipv6": (lambda value: _is_ip(value, 6), "value must be a valid IPv6 Address"),
    "hostname": (_is_hostname, "value must be a valid hostname"),
    "address": (lambda value: _is_hostname(value) or _is_ip(value), "value must be an ip address, or a hostname."),
    "uri": (_is_uri, "value must be a valid URI"),
    "uuid": (lambda value: _UUID.fullmatch(value) is not None, "value must be a valid UUID"),
}
