"""The frame counter counts exactly, on a proxy whose frames are known.

On uvloop, as the proxies run: asyncio's own transports are Python and would be counted beneath the proxy's.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
import uvloop

from bench import frames
from bench.peers import uvloop_tcp
from bench.process import HOST

PEERS = Path(uvloop_tcp.__file__).parent


def test_a_byte_proxy_enters_one_frame_for_each_direction() -> None:
    async def count(upstream_port: int) -> frames.FrameCount:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(partial(uvloop_tcp.Downstream, upstream_port), HOST, 0) as server:
            return await frames.frames_per_request(server.sockets[0].getsockname()[1], package=PEERS)

    with frames.upstream() as upstream_port:
        counted = uvloop.run(count(upstream_port))
    assert list(counted.functions.values()) == [2]
    assert counted.total == 2
    assert counted.report().endswith("Side.data_received")


def test_a_proxy_that_runs_elsewhere_is_an_error_and_not_zero_frames() -> None:
    with frames.upstream() as upstream_port, pytest.raises(LookupError, match="no frame of"):
        uvloop.run(frames.frames_per_request(upstream_port, package=PEERS))
