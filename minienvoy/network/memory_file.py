"""Bytes as a file that is on no disk, for a library that only takes names of files."""

from __future__ import annotations

import os


class MemoryFile:
    """`with MemoryFile(content) as name:`; where there are no files in memory, one that only its owner can read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._descriptor = -1
        self._name = ""

    def __enter__(self) -> str:
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("minienvoy")
            os.write(self._descriptor, self._content)
            return f"/proc/self/fd/{self._descriptor}"
        import tempfile

        self._descriptor, self._name = tempfile.mkstemp()
        os.write(self._descriptor, self._content)
        return self._name

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if self._name:
            os.unlink(self._name)  # noqa: PTH108
