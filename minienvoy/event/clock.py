"""The wall clock of the process, for what is written outside any `Dispatcher`: log lines.

It is real even where a test moves the `Dispatcher`'s time: a log is read beside other logs.
"""

from __future__ import annotations

from time import time as wall_time

__all__ = ["wall_time"]
