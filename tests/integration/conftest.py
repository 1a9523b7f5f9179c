"""What integration tests share."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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


@pytest.fixture
def command(root):
    """`async with command("-c", ...) as process`; it is killed if it is still there at the end, or after `seconds`."""

    @asynccontextmanager
    async def run(*arguments: str, seconds: float = 30, **options: object) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "minienvoy", *arguments, cwd=root, stdout=PIPE, stderr=PIPE, **options
        )
        try:
            async with asyncio.timeout(seconds):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    return run
