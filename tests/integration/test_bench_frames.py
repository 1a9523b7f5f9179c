"""The frame counter counts exactly, on a proxy whose frames are known."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from bench import frames
from bench.peers import uvloop_tcp
from bench.process import HOST


@pytest.mark.asyncio
async def test_a_byte_proxy_enters_one_frame_for_each_direction() -> None:
    with frames.upstream() as upstream_port:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(partial(uvloop_tcp.Downstream, upstream_port), HOST, 0)
        async with server:
            count = await frames.frames_per_request(
                server.sockets[0].getsockname()[1], package=Path(uvloop_tcp.__file__).parent
            )
            assert list(count.functions.values()) == [2]
            assert count.total == 2
            assert count.report().endswith("Side.data_received")


@pytest.mark.asyncio
async def test_a_proxy_that_runs_elsewhere_is_an_error_and_not_zero_frames() -> None:
    with frames.upstream() as upstream_port, pytest.raises(LookupError, match="no frame of"):
        await frames.frames_per_request(upstream_port, package=Path(uvloop_tcp.__file__).parent)
