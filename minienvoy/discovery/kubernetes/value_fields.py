"""Plain values, as a TypedStruct brings them, taken field by field.

No Envoy counterpart: Envoy's extensions have protos. Nothing that is set is ignored here either: a field that does not
exist, or a value that can not be, is an error with its place and, where one is near, the name that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...errors import ConfigError

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
PORT_NAME: Final = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,62})?")
DURATION: Final = re.compile(r"([0-9]+(\.[0-9]+)?)s")


class Fields:
    """The fields of a plain mapping, each taken once; `done` complains of those that nobody took."""

    def __init__(self, values: Mapping[str, Any], path: str) -> None:
        self._values = values
        self._path = path
        self._known: list[str] = []

    def at(self, name: str) -> str:
        return f"{self._path}.{name}"

    def take(self, name: str) -> Any:
        """The value of a field, None if it is not set."""
        self._known.append(name)
        return self._values.get(name)

    def text(self, name: str, default: str = "") -> str:
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ConfigError(f"a text is expected, not {shown(value)}", self.at(name))
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.take(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise ConfigError(f"a list of texts is expected, not {shown(value)}", self.at(name))
        return tuple(value)

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise ConfigError(f"true or false is expected, not {shown(value)}", self.at(name))
        return bool(value)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of `choices`; the first if it is not set."""
        value = self.take(name)
        if value is None:
            return choices[0]
        if value not in choices:
            raise ConfigError(
                f"{shown(value)} is not one of {', '.join(choices)}", self.at(name), remedy=meant(str(value), choices)
            )
        return str(value)

    def seconds(self, name: str, default: float) -> float:
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, str) and (match := DURATION.fullmatch(value)):
            return float(match[1])
        if isinstance(value, float) and value >= 0:
            return value
        raise ConfigError(f"a duration such as 15s is expected, not {shown(value)}", self.at(name))

    def port(self, name: str) -> str | int:
        """A port's name, possibly empty, or its number; must be set."""
        value = self.take(name)
        if value is None:
            raise ConfigError("a port is needed, by its name or its number", self.at(name))
        if isinstance(value, float) and value.is_integer() and 0 < value < 65536:
            return int(value)
        if isinstance(value, str) and (not value or PORT_NAME.fullmatch(value)):
            number = int(value) if value.isascii() and value.isdigit() and len(value) <= 5 else 0
            return number if 0 < number < 65536 else value
        raise ConfigError(f"a port's name or number is expected, not {shown(value)}", self.at(name))

    def name(self, name: str) -> str:
        """Of a Kubernetes object; empty if it is not set."""
        value = self.text(name)
        if value and not NAME.fullmatch(value):
            raise ConfigError(f"'{value}' can not be the name of a Kubernetes object", self.at(name))
        return value

    def below(self, name: str) -> Fields | None:
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ConfigError(f"fields are expected, not {shown(value)}", self.at(name))
        return Fields(value, self.at(name))

    def done(self) -> None:
        for name, value in self._values.items():
            if name not in self._known and value is not None:
                raise ConfigError(
                    f"there is no field '{name}'",
                    self.at(name),
                    remedy=meant(name, self._known) or f"there are {', '.join(sorted(self._known))}",
                )


def meant(text: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(text, known, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def shown(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "a list" if isinstance(value, list) else "fields" if isinstance(value, dict) else repr(value)
