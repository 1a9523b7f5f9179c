"""Access logs on the standard streams of a process, over pipes as a supervisor would have them."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio
from minienvoy.access_log.file import AccessLogManager
from minienvoy.event.dispatcher import Dispatcher
from minienvoy.stats.store import Store

async def main():
    dispatcher = Dispatcher(asyncio.get_running_loop())
    logs = AccessLogManager(dispatcher, Store().scope(""), flush_interval=10.0, flush_min_size=65536)
    for number in range(50_000):
        logs.create_access_log("/dev/stdout").write(f"line {number}\\n")
    logs.create_access_log("/dev/stderr").write("caf\\xc3\\xa9\\n")
    logs.close()
    await dispatcher.stop()

asyncio.run(main())
"""


def test_everything_arrives_on_both_streams_though_the_reader_comes_late():
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert out.decode().splitlines() == [f"line {number}" for number in range(50_000)]
    assert err.decode() == "café\n"
    assert process.returncode == 0
