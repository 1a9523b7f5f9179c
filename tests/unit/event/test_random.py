from __future__ import annotations

import re

import pytest

from minienvoy.event.random import RandomGenerator, mersenne_twister


def test_a_seed_repeats_what_was_drawn() -> None:
    first, second = RandomGenerator(7), RandomGenerator(7)
    assert [first.stream("a").random() for _ in range(2)] == [second.stream("a").random() for _ in range(2)]
    assert first.uuid4("id")() == second.uuid4("id")()


def test_streams_do_not_depend_on_each_other() -> None:
    generator = RandomGenerator(7)
    expected = generator.stream("b").random()
    generator.stream("a").random()
    assert generator.stream("b").random() == expected
    assert generator.stream("a").random() != expected


def test_without_a_seed_there_is_one_to_repeat_it_with() -> None:
    generator = RandomGenerator()
    assert RandomGenerator(generator.seed).stream("a").random() == generator.stream("a").random()
    assert generator.seed != RandomGenerator().seed


def test_uuids_are_of_version_4_and_variant_1() -> None:
    make = RandomGenerator(1).uuid4("id")
    made = {make() for _ in range(100)}
    assert len(made) == 100
    pattern = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert [each for each in made if not pattern.fullmatch(each)] == []


@pytest.mark.parametrize(
    ("seed", "first", "later"),
    [
        (0, [2357136044, 2546248239, 3071714933], 3365742393),
        (12345, [3992670690, 3823185381, 1358822685], 2653115328),
        (0xDEADBEEFCAFEF00D, [3064114318, 4128846693, 3837868903], 3131591814),
    ],
)
def test_the_mersenne_twister_is_that_of_the_cpp_library(seed: int, first: list[int], later: int) -> None:
    draw = mersenne_twister(seed).getrandbits
    assert [draw(32) for _ in range(3)] == first
    for _ in range(700):
        draw(32)
    assert draw(32) == later
