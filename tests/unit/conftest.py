"""What unit tests of the data path share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.http_bench import Bench


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """`bench(routes, hcm={...}, cluster={...}, filters=[...])` makes a `Bench`.

    When the test is over everybody leaves, and it fails if anything of theirs is left: a gauge that is not 0, a timer
    that is armed, a connection that is open.
    """
    made: list[Bench] = []

    def make(*arguments: Any, **options: Any) -> Bench:
        each = Bench(*arguments, **options)
        each.remember()
        made.append(each)
        monkeypatch.setattr("minienvoy.upstream.http_conn_pool.create_connection", each.create_connection)
        for module in ("upstream.health_check_client", "extensions.load_balancing_policies.orca_oob"):
            monkeypatch.setattr(f"minienvoy.{module}.create_own_connection", each.create_own_connection)
        return each

    yield make
    for each in made:
        each.finish()
        assert each.leftovers() == {}
