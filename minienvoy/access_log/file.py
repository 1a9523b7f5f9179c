"""Files that logs are written to, a buffer at a time.

Envoy: `AccessLog::AccessLogFileImpl`, `AccessLogManagerImpl`. Envoy writes from a thread; here the buffer is written by
one `os.write` when it is large or old enough, which for a regular file does not block for long. Pipes, sockets and
terminals are written to without blocking: what they do not take stays in the buffer, and beyond `MAX_BUFFERED` bytes it
is dropped and counted. One file is opened once, however many logs write to it.
"""

from __future__ import annotations

import os
import select
import stat
from typing import Final

from ..errors import ConfigError
from ..event.dispatcher import Dispatcher
from ..stats.store import CounterValue, GaugeValue, Scope, StatsStruct

MAX_BUFFERED: Final = 16 << 20
"""Bytes that may wait for a file that does not take them."""
RETRY_INTERVAL: Final = 0.05
"""Seconds until a pipe that was full is tried again."""
LAST_TRIES: Final = 20
"""How often `close` waits 0.1 s for a pipe that is full before it gives up."""


class FilesystemStats(StatsStruct):
    """`filesystem.*`; the gauge is bytes."""

    flushed_by_timer: CounterValue
    reopen_failed: CounterValue
    write_buffered: CounterValue
    write_completed: CounterValue
    write_failed: CounterValue
    write_total_buffered: GaugeValue


class AccessLogFile:
    """One open file. `write` never raises and, for a regular file, loses nothing that the disk has room for."""

    def __init__(
        self, path: str, dispatcher: Dispatcher, stats: FilesystemStats, flush_interval: float, flush_min_size: int
    ) -> None:
        """Raises OSError if the file can not be opened. Interval in seconds, size in bytes."""
        self.path = path
        self._stats = stats
        self._min_size = min(flush_min_size, MAX_BUFFERED // 2)
        self._interval = flush_interval
        self._pending: list[str] = []
        self._size = 0
        self._blocked: bytes = b""
        self._reopen_due = False
        self._fd = self._open()
        self._timer = dispatcher.create_timer(self._on_timer)
        self._timer.enable(flush_interval)
        self._retry = dispatcher.create_timer(self.flush)

    def write(self, text: str) -> None:
        """Take a line; its characters are bytes (latin-1)."""
        size = len(text)
        stats = self._stats
        if self._size + size > MAX_BUFFERED:
            stats.write_failed += 1
            return
        self._pending.append(text)
        self._size += size
        stats.write_buffered += 1
        stats.write_total_buffered += size
        if self._size > self._min_size and not self._blocked:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        self._flush(tries=0)

    def _flush(self, tries: int) -> None:
        if self._reopen_due:
            self._reopen()
        data = self._blocked + "".join(self._pending).encode("latin-1", "replace")
        self._pending.clear()
        self._blocked = b""
        if not data:
            return
        left = self._write(data, tries)
        if left:
            self._retry.enable(RETRY_INTERVAL)
        self._stats.write_total_buffered -= self._size - len(left)
        self._size = len(left)
        self._blocked = left

    def reopen(self) -> None:
        """Open the file by its name again before the next write: it was moved away."""
        self._reopen_due = True

    def close(self) -> None:
        """Write what is left; the file is not usable afterwards."""
        if self._fd < 0:
            return
        self._flush(LAST_TRIES)
        self._timer.disable()
        self._retry.disable()
        if self._blocked:
            self._stats.write_failed += 1
            self._stats.write_total_buffered -= self._size
            self._blocked, self._size = b"", 0
        os.close(self._fd)
        self._fd = -1

    def _on_timer(self) -> None:
        self._stats.flushed_by_timer += 1
        self.flush()
        self._timer.enable(self._interval)

    def _open(self) -> int:
        inherited = {"/dev/stdout": 1, "/dev/stderr": 2}.get(self.path)
        if inherited is not None:
            # Opening them by name fails where they are sockets, and begins a file again where they are files.
            fd = os.dup(inherited)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            fd = os.open(self.path, flags | os.O_NONBLOCK if _is_pipe(self.path) else flags, 0o644)
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
        return fd

    def _reopen(self) -> None:
        self._reopen_due = False
        try:
            opened = self._open()
        except OSError:
            # The old file, wherever it is now, is better than none.
            self._stats.reopen_failed += 1
            return
        os.close(self._fd)
        self._fd = opened

    def _write(self, data: bytes, tries: int) -> bytes:
        """Write as much as can be written now; the answer is the rest, to try again later."""
        left = memoryview(data)
        try:
            while left:
                if self._regular:
                    left = left[os.write(self._fd, left) :]
                elif _is_writable(self._fd):
                    # What is writable takes this much without blocking, and perhaps no more.
                    left = left[os.write(self._fd, left[: select.PIPE_BUF]) :]
                elif tries and _is_writable(self._fd, 0.1):
                    continue
                elif tries:
                    tries -= 1
                else:
                    return bytes(left)
        except BlockingIOError:
            return bytes(left)
        except OSError:
            self._stats.write_failed += 1
            return b""
        self._stats.write_completed += 1
        return b""


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return False


def _is_writable(fd: int, seconds: float = 0.0) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    return bool(poller.poll(seconds * 1000))


class AccessLogManager:
    """Every file that logs write to, by path (`AccessLog::AccessLogManager`)."""

    def __init__(
        self, dispatcher: Dispatcher, scope: Scope, flush_interval: float = 10.0, flush_min_size: int = 64 << 10
    ) -> None:
        """`scope` is the server's, with an empty prefix. Interval in seconds, size in bytes."""
        self._dispatcher = dispatcher
        self._stats = scope.scope("filesystem").struct(FilesystemStats)
        self._flush_interval = flush_interval
        self._flush_min_size = flush_min_size
        self._files: dict[str, AccessLogFile] = {}

    def create_access_log(self, path: str, field: str = "") -> AccessLogFile:
        """The file at `path`, opened if it is not open yet.

        Raises:
            ConfigError: at `field`, if it can not be opened.
        """
        file = self._files.get(path)
        if file is None:
            try:
                file = AccessLogFile(path, self._dispatcher, self._stats, self._flush_interval, self._flush_min_size)
            except OSError as error:
                raise ConfigError(f"unable to open file '{path}': {error.strerror}", field) from None
            self._files[path] = file
        return file

    def flush(self) -> None:
        """Write every buffer."""
        for file in self._files.values():
            file.flush()

    def reopen(self) -> None:
        """Open every file by its name again, before it is next written to: `SIGUSR1`, `/reopen_logs`."""
        for file in self._files.values():
            file.reopen()

    def close(self) -> None:
        """Write what is buffered and close every file."""
        for file in self._files.values():
            file.close()
        self._files.clear()
