from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest

from minienvoy.record import as_dict, field, record, replace


@record
class Point:
    """Where something is."""

    axes: ClassVar[int] = 2

    x: int
    y: int = 0
    tags: tuple[str, ...] = ()

    @property
    def sum(self) -> int:
        return self.x + self.y


@record(frozen=False)
class Counted:
    name: str
    values: list[int] = field(default_factory=list)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.name)


def test_attributes_come_by_position_by_name_or_by_default() -> None:
    assert as_dict(Point(1, y=2)) == {"x": 1, "y": 2, "tags": ()}
    assert Point(1).sum == 1
    assert Point.axes == 2


@pytest.mark.parametrize(
    ("positional", "named"), [((), {}), ((1, 2, (), 4), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((), {"y": 1})]
)
def test_too_few_too_many_and_unknown_are_refused(positional: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        Point(*positional, **named)  # type: ignore[arg-type]


def test_a_record_is_not_changed() -> None:
    point = Point(1)
    for change in (lambda: setattr(point, "x", 2), lambda: delattr(point, "x"), lambda: setattr(point, "new", 1)):
        with pytest.raises(AttributeError):
            change()
    assert point == Point(1)


def test_records_are_equal_by_their_class_and_values() -> None:
    assert Point(1, 2) == Point(1, 2)
    assert Point(1, 2) != Point(2, 1)
    assert Point(1) != (1, 0, ())
    assert {Point(1): "a"}[Point(1)] == "a"


def test_it_is_printed_as_it_is_made() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0, tags=())"


def test_replace_makes_a_copy() -> None:
    point = Point(1, 2)
    assert replace(point, x=5) == Point(5, 2)
    assert point == Point(1, 2)
    with pytest.raises(TypeError):
        replace(point, z=1)


def test_one_that_may_change_has_slots_and_no_hash() -> None:
    one, other = Counted("ab"), Counted("c", [1])
    one.values.append(7)
    one.name = "x"
    assert (one.length, other.length, other.values, Counted("d").values) == (2, 1, [1], [])
    with pytest.raises(AttributeError):
        one.nothing = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        hash(one)


def test_only_records_and_dataclasses_have_attributes_to_tell() -> None:
    @dataclass
    class Plain:
        x: int

    assert as_dict(Plain(1)) == {"x": 1}
    assert as_dict(Point) is None
    assert as_dict(1) is None


def test_the_dataclasses_module_takes_a_record_for_a_dataclass() -> None:
    assert dataclasses.replace(Point(1, 2), x=5) == Point(5, 2)
    assert dataclasses.asdict(Point(1, 2)) == {"x": 1, "y": 2, "tags": ()}
    assert [field.name for field in dataclasses.fields(Point)] == ["x", "y", "tags"]
