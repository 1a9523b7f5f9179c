"""What is said of an extension that there is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minienvoy.errors import ConfigError
from minienvoy.http.filter import HTTP_FILTERS
from minienvoy.registry import Registry


def test_missing_extension_is_named_as_the_configuration_does_with_the_type_it_has() -> None:
    with pytest.raises(ConfigError) as error:
        HTTP_FILTERS.find("type.googleapis.com/a.B", "http_filters[0]", "mine")
    assert error.value.problem == "Didn't find a registered implementation for 'mine' with type URL: 'a.B'"
    assert error.value.path == "http_filters[0]"
    assert error.value.remedy == "no envoy.filters.http extension of minienvoy takes it; see docs/supported.md"


@pytest.mark.parametrize(
    ("find", "problem"),
    [
        (
            lambda: HTTP_FILTERS.find("", "", "mine"),
            "Didn't find a registered implementation for 'mine' with type URL: ''",
        ),
        (lambda: HTTP_FILTERS.find(""), "Didn't find a registered implementation for type: ''"),
    ],
)
def test_extension_without_configuration_is_told_that(find: Callable[[], object], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        find()
    assert (error.value.problem, error.value.remedy) == (problem, "typed_config is missing")


def test_two_places_can_not_make_one_type_but_a_module_that_is_imported_anew_takes_its_own_place() -> None:
    registry: Registry[Callable[[], int]] = Registry("test.imported_anew")

    def module(result: int) -> None:
        @registry.register("mine", "a.B")
        def make() -> int:
            return result

    module(1)
    module(2)
    assert registry.find("type.googleapis.com/a.B").factory() == 2
    with pytest.raises(ValueError, match=r"a\.B is registered twice"):
        registry.register("other", "a.B")(lambda: 3)
