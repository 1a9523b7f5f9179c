from __future__ import annotations

import asyncio

import pytest

from minienvoy.event.deadline import Deadline
from minienvoy.event.simulated import SimulatedDispatcher

pytestmark = pytest.mark.asyncio


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_silence_ends_the_block_and_nothing_else() -> None:
    dispatcher = SimulatedDispatcher(asyncio.get_running_loop())
    told: list[str] = []

    async def waits() -> None:
        try:
            async with Deadline(dispatcher, 90) as silence:
                await dispatcher.sleep(80)
                silence.extend()
                await asyncio.Event().wait()
        except TimeoutError:
            told.append("silence")
        await dispatcher.pause()
        told.append("after")

    task = asyncio.get_running_loop().create_task(waits())
    for seconds, expected in ((80, []), (89, []), (2, ["silence", "after"])):
        await turns()
        dispatcher.advance(seconds)
        await turns()
        assert told == expected
    await task


async def test_a_block_that_is_over_in_time_leaves_no_timer() -> None:
    dispatcher = SimulatedDispatcher(asyncio.get_running_loop())
    async with Deadline(dispatcher, 1):
        await dispatcher.pause()
    dispatcher.advance(10)
    await turns()


async def test_a_task_that_is_cancelled_by_others_is_cancelled() -> None:
    dispatcher = SimulatedDispatcher(asyncio.get_running_loop())

    async def waits() -> None:
        async with Deadline(dispatcher, 1):
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(waits())
    await turns()
    task.cancel()
    dispatcher.advance(2)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_errors_inside_come_out() -> None:
    dispatcher = SimulatedDispatcher(asyncio.get_running_loop())
    with pytest.raises(ValueError, match="mine"):
        async with Deadline(dispatcher, 1):
            raise ValueError("mine")


async def test_what_takes_long_runs_in_another_thread() -> None:
    dispatcher = SimulatedDispatcher(asyncio.get_running_loop())
    assert await dispatcher.in_thread(lambda: 7) == 7
