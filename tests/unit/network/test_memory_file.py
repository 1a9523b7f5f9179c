"""Content that has a name for a moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minienvoy.network import memory_file
from minienvoy.network.memory_file import MemoryFile


@pytest.fixture(params=["in memory", "no such call", "no such call here", "nobody tells of open files"])
def kept(request, monkeypatch, tmp_path):
    """Where the content may be; True if it can be on a disk."""

    def refuse(_: str) -> int:
        raise PermissionError

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if request.param == "no such call":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif request.param == "no such call here":
        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    elif request.param == "nobody tells of open files":
        monkeypatch.setattr(memory_file, "_OPEN_FILES", str(tmp_path / "nothing"))
    return request.param != "in memory"


def test_it_is_there_under_its_name_and_gone_afterwards(kept, tmp_path):
    content = bytes(range(256)) * 1000
    with MemoryFile(content) as name:
        assert Path(name).read_bytes() == content
        assert bool(list(tmp_path.iterdir())) is kept
        assert Path(name).stat().st_mode & 0o077 == 0 or not kept
    assert list(tmp_path.iterdir()) == []
    assert not Path(name).exists()
