from __future__ import annotations

import re

from minienvoy.event.random import RandomGenerator


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
