"""Waiting for what nobody tells of: several sides have to be looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    """Until it holds; TimeoutError if it does not within `seconds`, which only tell a hang from a slow machine."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
