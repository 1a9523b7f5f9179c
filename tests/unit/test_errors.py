from __future__ import annotations

from minienvoy.errors import ConfigError


def test_who_called_a_factory_puts_the_place_in_front() -> None:
    error = ConfigError("bad", "route_config.name", "f.yaml:1:2", "do better").below("filters[0].typed_config")
    assert (error.path, error.problem) == ("filters[0].typed_config.route_config.name", "bad")
    assert (error.location, error.remedy) == ("f.yaml:1:2", "do better")


def test_error_about_the_whole_message_stands_at_its_place() -> None:
    assert ConfigError("bad").below("filters[0]").path == "filters[0]"


def test_path_that_is_complete_stays() -> None:
    assert ConfigError("bad", "filters[0].name").below("filters[0]").path == "filters[0].name"
