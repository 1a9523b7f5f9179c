from __future__ import annotations

import os

import pytest

from minienvoy.access_log.file import MAX_BUFFERED, AccessLogManager
from minienvoy.errors import ConfigError
from minienvoy.stats.store import Store


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def manager(sources, store):
    manager = AccessLogManager(sources.dispatcher, store.scope(""), flush_interval=10.0, flush_min_size=100)
    yield manager
    manager.close()


def counts(store):
    names = "write_buffered write_completed write_failed write_total_buffered flushed_by_timer reopen_failed"
    return {name: value for name in names.split() if (value := store.value(f"filesystem.{name}"))}


def test_lines_wait_until_the_interval_is_over(manager, store, sources, tmp_path):
    manager.create_access_log(str(tmp_path / "log")).write("a\n")
    sources.dispatcher.advance(9.9)
    assert (tmp_path / "log").read_text() == ""
    assert counts(store) == {"write_buffered": 1, "write_total_buffered": 2}
    sources.dispatcher.advance(0.2)
    assert (tmp_path / "log").read_text() == "a\n"
    assert counts(store) == {"write_buffered": 1, "write_completed": 1, "flushed_by_timer": 1}


def test_a_large_buffer_is_written_at_once(manager, tmp_path):
    file = manager.create_access_log(str(tmp_path / "log"))
    file.write("x" * 100)
    assert (tmp_path / "log").read_text() == ""
    file.write("y")
    assert (tmp_path / "log").read_text() == "x" * 100 + "y"


def test_nothing_is_lost_when_the_manager_closes(manager, store, tmp_path):
    manager.create_access_log(str(tmp_path / "log")).write("a\n")
    manager.close()
    assert (tmp_path / "log").read_text() == "a\n"
    assert "write_total_buffered" not in counts(store)


def test_one_path_is_one_file(manager, tmp_path):
    assert manager.create_access_log(str(tmp_path / "log")) is manager.create_access_log(str(tmp_path / "log"))


def test_an_existing_file_is_appended_to(manager, tmp_path):
    (tmp_path / "log").write_text("old\n")
    manager.create_access_log(str(tmp_path / "log")).write("new\n")
    manager.flush()
    assert (tmp_path / "log").read_text() == "old\nnew\n"


def test_a_file_that_was_moved_away_is_made_again(manager, tmp_path):
    file = manager.create_access_log(str(tmp_path / "log"))
    file.write("a\n")
    manager.flush()
    (tmp_path / "log").rename(tmp_path / "log.1")
    manager.reopen()
    file.write("b\n")
    manager.flush()
    assert ((tmp_path / "log.1").read_text(), (tmp_path / "log").read_text()) == ("a\n", "b\n")


def test_the_old_file_is_kept_when_the_new_one_can_not_be_opened(manager, store, tmp_path):
    (tmp_path / "dir").mkdir()
    file = manager.create_access_log(str(tmp_path / "dir" / "log"))
    (tmp_path / "dir").rename(tmp_path / "moved")
    manager.reopen()
    file.write("a\n")
    manager.flush()
    assert (tmp_path / "moved" / "log").read_text() == "a\n"
    assert counts(store) == {"write_buffered": 1, "write_completed": 1, "reopen_failed": 1}


def test_a_file_that_can_not_be_opened_is_a_configuration_error(manager, tmp_path):
    with pytest.raises(ConfigError) as refused:
        manager.create_access_log(str(tmp_path / "no" / "log"), "some.path")
    assert refused.value.problem == f"unable to open file '{tmp_path}/no/log': No such file or directory"
    assert refused.value.path == "some.path"


def test_what_can_not_be_written_is_dropped_and_counted(manager, store):
    file = manager.create_access_log("/dev/full")
    file.write("a\n")
    manager.flush()
    assert counts(store) == {"write_buffered": 1, "write_failed": 1}


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield str(tmp_path / "pipe"), reader
    os.close(reader)


def test_a_pipe_that_is_full_is_tried_again(manager, store, sources, pipe):
    path, reader = pipe
    file = manager.create_access_log(path)
    file.write("x" * 100_000)
    assert 0 < store.value("filesystem.write_total_buffered") < 100_000
    received = len(os.read(reader, 1 << 20))
    sources.dispatcher.advance(0.1)
    received += len(os.read(reader, 1 << 20))
    assert received == 100_000
    assert counts(store) == {"write_buffered": 1, "write_completed": 1}


def test_a_pipe_that_nobody_reads_does_not_fill_the_memory(manager, store, pipe):
    file = manager.create_access_log(pipe[0])
    line = "x" * 1_000_000
    for _ in range(20):
        file.write(line)
    assert store.value("filesystem.write_total_buffered") <= MAX_BUFFERED
    assert store.value("filesystem.write_failed") >= 3


def test_a_pipe_whose_reader_is_gone_loses_lines_but_nothing_else(manager, store, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    file = manager.create_access_log(str(tmp_path / "pipe"))
    os.close(reader)
    file.write("a\n")
    manager.flush()
    assert counts(store) == {"write_buffered": 1, "write_failed": 1}


def test_a_pipe_without_a_reader_is_refused_instead_of_waited_for(manager, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="unable to open file"):
        manager.create_access_log(str(tmp_path / "pipe"))
