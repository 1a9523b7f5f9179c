from __future__ import annotations

import pytest

from bench.http2 import read
from bench.process import BenchError

SAID = """\
finished in 988.61ms, 20230.44 req/s, 1.35MB/s
requests: 20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout
"""


def test_the_time_that_h2load_tells_is_in_seconds() -> None:
    assert read(SAID, 20000) == pytest.approx(0.98861)
    assert read(SAID.replace("988.61ms", "2.34s"), 20000) == pytest.approx(2.34)


def test_a_request_that_is_not_answered_spoils_the_measurement() -> None:
    with pytest.raises(BenchError):
        read(SAID.replace("20000 succeeded", "19999 succeeded"), 20000)
    with pytest.raises(BenchError):
        read("", 20000)
