from __future__ import annotations

import asyncio
import os
import signal

import pytest

from minienvoy import logger
from minienvoy.log_pattern import DEFAULT_PATTERN
from minienvoy.server.run_helper import RunHelper

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def short_lines():
    logger.SINK.set_format("[%l][%n] %v")
    logger.set_level(logger.INFO)
    yield
    logger.set_level(logger.WARNING)
    logger.SINK.set_format(DEFAULT_PATTERN)


@pytest.mark.parametrize(
    ("number", "line", "happened"),
    [
        (signal.SIGTERM, "[warning][main] caught ENVOY_SIGTERM\n", ["shutdown"]),
        (signal.SIGINT, "[warning][main] caught SIGINT\n", ["shutdown"]),
        (signal.SIGUSR1, "[info][main] caught SIGUSR1. Reopening access logs.\n", ["reopen"]),
        (
            signal.SIGHUP,
            "[warning][main] caught and eating SIGHUP. See documentation for how to hot restart.\n",
            [],
        ),
    ],
)
async def test_signals_do_what_they_do_to_envoy(number, line, happened, capfd):
    seen = []
    helper = RunHelper(asyncio.get_running_loop(), lambda: seen.append("shutdown"), lambda: seen.append("reopen"))
    try:
        os.kill(os.getpid(), number)
        written = ""
        async with asyncio.timeout(5):
            while not written:
                await asyncio.sleep(0)
                written = capfd.readouterr().err
    finally:
        helper.close()
    assert (written, seen) == (line, happened)


async def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    RunHelper(asyncio.get_running_loop(), lambda: None, lambda: None).close()
    assert signal.getsignal(signal.SIGTERM) == before
