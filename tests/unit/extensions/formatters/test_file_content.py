"""`%FILE_CONTENT(...)%`: which changes of a file are seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from minienvoy.extensions.formatters.file_content import WatchedFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "secret"
    made.write_text("old")
    return made


def replaced(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


@pytest.mark.parametrize("follows", [False, True])
def test_a_file_that_is_written_anew_is_read_again(path: Path, follows: bool) -> None:
    file = WatchedFile(str(path), follows)
    assert file.text() == "old"
    path.write_text("newer")
    assert file.text() == "newer"


def test_a_file_that_takes_its_place_is_read_where_a_directory_is_watched(path: Path) -> None:
    followed, other = WatchedFile(str(path), True), WatchedFile(str(path), False)
    replaced(path, "new")
    assert followed.text() == "new"
    assert other.text() == "old"


def test_what_was_read_last_stays_when_the_file_is_gone(path: Path) -> None:
    file = WatchedFile(str(path), True)
    path.unlink()
    assert file.text() == "old"


def test_bytes_stay_bytes(path: Path) -> None:
    path.write_bytes(b"caf\xe9")
    assert WatchedFile(str(path), False).text() == "caf\xe9"
