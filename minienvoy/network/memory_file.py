"""Bytes as a file that is on no disk, for a library that only takes names of files."""

from __future__ import annotations

import os
from typing import Final

_OPEN_FILES: Final = "/proc/self/fd"


class MemoryFile:
    """`with MemoryFile(content) as name:`; where there are no files in memory, one that only its owner can read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._descriptor = -1
        self._name = ""

    def __enter__(self) -> str:
        name = self._in_memory()
        if not name:
            import tempfile

            self._descriptor, self._name = tempfile.mkstemp()  # for its owner alone
            name = self._name
        left = memoryview(self._content)
        while left:
            left = left[os.write(self._descriptor, left) :]
        return name

    def _in_memory(self) -> str:
        """Its name; empty where there are no such files, or none that have names."""
        if not hasattr(os, "memfd_create") or not os.path.exists(_OPEN_FILES):  # noqa: PTH110
            return ""
        try:
            self._descriptor = os.memfd_create("minienvoy")
        except OSError:
            return ""
        return f"{_OPEN_FILES}/{self._descriptor}"

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if self._name:
            os.unlink(self._name)  # noqa: PTH108
