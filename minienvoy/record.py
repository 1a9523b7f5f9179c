"""Frozen objects with slots, written as dataclasses are, and made at a twentieth of the cost.

No Envoy counterpart. `dataclasses` writes and compiles the source of six methods for each class: 0.7 ms a class, which
was 23 ms of every start. Here all classes share the same methods. Making an *instance* takes longer than that of a
dataclass (a few microseconds): this is for what is made from the configuration, not for what a request makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")
_set: Callable[[Any, str, Any], None] = object.__setattr__


class _Field:
    """What `field` tells of an attribute."""

    __slots__ = ("default_factory", "init")

    def __init__(self, default_factory: Callable[[], Any] | None, init: bool) -> None:
        self.default_factory = default_factory
        self.init = init


def field(*, default_factory: Callable[[], Any] | None = None, init: bool = True) -> Any:
    """As `dataclasses.field`: a default that is made anew each time, or an attribute that `__post_init__` sets."""
    return _Field(default_factory, init)


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, frozen: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T] | None = None, /, *, frozen: bool = True) -> Any:
    """As `dataclass(frozen=True, slots=True)`, for classes without a base that is a record, too."""
    if cls is None:
        return lambda each: _make(each, frozen)
    return _make(cls, frozen)


def replace(item: T, **changes: Any) -> T:
    """A copy of a record with some attributes changed."""
    for name in type(item).__record_fields__:  # type: ignore[attr-defined]
        if name not in changes:
            changes[name] = getattr(item, name)
    return type(item)(**changes)


def as_dict(item: object) -> dict[str, Any] | None:
    """The attributes of a record or a dataclass; None if it is neither."""
    names = getattr(item, "__record_fields__", None) or getattr(item, "__dataclass_fields__", None)
    return None if names is None or isinstance(item, type) else {name: getattr(item, name) for name in names}


class _DataclassFields:
    """`__dataclass_fields__`, made when asked for: a record answers the `dataclasses` module."""

    def __get__(self, instance: object, owner: type[Any]) -> dict[str, Any]:
        from dataclasses import make_dataclass

        made: Any = make_dataclass(owner.__name__, owner.__record_fields__)
        fields: dict[str, Any] = made.__dataclass_fields__
        return fields


_dataclass_fields = _DataclassFields()


def _make(cls: type[Any], frozen: bool) -> type[Any]:
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    slots = tuple(
        name for name, kind in namespace.get("__annotations__", {}).items() if not kind.startswith("ClassVar")
    )
    defaults: dict[str, Any] = {}
    factories: dict[str, Callable[[], Any]] = {}
    fields = []
    for name in slots:
        if name not in namespace:
            fields.append(name)
            continue
        value = namespace.pop(name)
        if not isinstance(value, _Field):
            defaults[name] = value
        elif value.default_factory is not None:
            factories[name] = value.default_factory
        if not isinstance(value, _Field) or value.init:
            fields.append(name)
    namespace |= {"__slots__": slots, "__record_fields__": tuple(fields), "__repr__": _repr, "__eq__": _equal}
    namespace["__dataclass_fields__"] = _dataclass_fields
    namespace["__init__"] = _initialiser(tuple(fields), defaults, factories, namespace.get("__post_init__"))
    # Who is equal to another and may change has no hash.
    namespace["__hash__"] = _hash if frozen else None
    if frozen:
        namespace |= {"__setattr__": _refuse_change, "__delattr__": _refuse_change}
    made = type(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    return made


def _initialiser(
    fields: tuple[str, ...],
    defaults: dict[str, Any],
    factories: dict[str, Callable[[], Any]],
    post_init: Callable[[Any], None] | None,
) -> Callable[..., None]:
    known = frozenset(fields)

    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        given = dict(zip(fields, positional, strict=False))
        if len(positional) > len(fields) or not named.keys() <= known or named.keys() & given.keys():
            raise TypeError(f"{type(self).__name__}({', '.join(fields)}) was given {positional!r} and {named!r}")
        given.update(named)
        for name in fields:
            if name in given:
                value = given[name]
            elif name in defaults:
                value = defaults[name]
            elif name in factories:
                value = factories[name]()
            else:
                raise TypeError(f"{type(self).__name__}() needs {name}")
            _set(self, name, value)
        if post_init is not None:
            post_init(self)

    return __init__


def _values(item: Any) -> tuple[Any, ...]:
    return tuple([getattr(item, name) for name in item.__record_fields__])


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__record_fields__)})"


def _equal(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse_change(self: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"{type(self).__name__} is not to be changed, neither is its {name}")
