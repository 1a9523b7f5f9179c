"""What integration tests share."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """`run(main)` runs a coroutine function in a fresh loop of either kind; nothing may be left of it then."""

    def run(main, *arguments, seconds=30):
        factory = asyncio.new_event_loop
        if request.param == "uvloop":
            factory = pytest.importorskip("uvloop").new_event_loop

        async def guarded():
            async with asyncio.timeout(seconds):
                return await main(*arguments)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with asyncio.Runner(loop_factory=factory) as runner:
                result = runner.run(guarded())
                left = asyncio.all_tasks(runner.get_loop())
            gc.collect()
        assert left == set()
        assert [str(each.message) for each in caught] == []
        return result

    return run
