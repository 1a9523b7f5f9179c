"""Each test of an HTTP/2 codec runs with ours and with the one over h2, but where it says that it is about ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .peer import CODEC


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "codec" in metafunc.fixturenames:
        native_only = metafunc.definition.get_closest_marker("native_codec") is not None
        metafunc.parametrize("codec", ["native"] if native_only else ["native", "h2"], indirect=True)


@pytest.fixture(autouse=True)
def codec(request: pytest.FixtureRequest) -> Iterator[str]:
    CODEC.name = request.param
    yield request.param
    CODEC.name = "native"
