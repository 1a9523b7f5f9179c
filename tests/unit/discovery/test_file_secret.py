"""Secrets of files: what is taken, what is refused, and what happens when their files are replaced."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import minienvoy.discovery.secret_manager
import minienvoy.extensions.transport_sockets.tls.downstream  # noqa: F401 - they declare what is honoured
from minienvoy.discovery.file_secret import FileSecretProvider
from minienvoy.event.file_watcher import INTERVAL, FileWatcher
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.stats.store import Store

TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class NoLoop(asyncio.AbstractEventLoop):
    def time(self) -> float:
        return 0.0


class Written:
    """A secret with a certificate in files of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.put("chain.pem", "one")
        self.put("key.pem", "key")
        self.put("sds.json", self.response())
        self.dispatcher = SimulatedDispatcher(NoLoop())
        self.watcher = FileWatcher(self.dispatcher)
        self.stats = Store()
        self.provider = FileSecretProvider(
            "a",
            "tls_certificate",
            str(directory / "sds.json"),
            "",
            self.watcher,
            self.stats.scope("sds.a"),
            self.dispatcher.wall_time,
        )
        self.updates = 0
        self.provider.add_update_callback(self._on_update)

    def _on_update(self) -> None:
        self.updates += 1

    def response(self, name: str = "a", version: str = "") -> str:
        files = {
            "certificate_chain": {"filename": str(self.directory / "chain.pem")},
            "private_key": {"filename": str(self.directory / "key.pem")},
        }
        secret = {"@type": TYPE, "name": name, "tls_certificate": files}
        return json.dumps({"version_info": version, "resources": [secret]})

    def put(self, name: str, content: str) -> None:
        """Move it there, as whoever writes secrets does."""
        new = self.directory / f"{name}.new"
        new.write_text(content)
        new.replace(self.directory / name)

    def look(self) -> None:
        self.dispatcher.advance(INTERVAL * 2)

    def count(self, name: str) -> int:
        return int(self.stats.value(f"sds.a.{name}"))

    @property
    def chain(self) -> bytes:
        content: bytes = self.provider.secret.tls_certificate.certificate_chain.inline_bytes
        return content


@pytest.fixture
def written(tmp_path):
    made = Written(tmp_path)
    yield made
    made.watcher.stop()


def test_what_is_in_the_files_of_a_secret_is_part_of_it(written):
    assert written.chain == b"one"
    assert written.count("update_success") == 1


def test_a_file_of_a_secret_that_is_replaced_is_an_update(written):
    written.put("chain.pem", "two")
    written.look()
    assert (written.chain, written.updates, written.count("update_attempt")) == (b"two", 1, 1)


def test_the_same_content_again_is_none(written):
    written.put("chain.pem", "one")
    written.put("sds.json", written.response(version="2"))
    written.look()
    assert written.updates == 0
    assert (written.count("update_success"), written.provider.version) == (2, "2")


def test_a_file_that_is_gone_when_another_moves_leaves_the_secret_as_it_was(written):
    (written.directory / "key.pem").unlink()
    written.put("chain.pem", "two")
    written.look()
    assert (written.chain, written.updates, written.count("key_rotation_failed")) == (b"one", 0, 1)
    written.put("key.pem", "key")
    written.look()
    assert (written.chain, written.updates) == (b"two", 1)


@pytest.mark.parametrize(
    ("content", "counted"),
    [
        ("resources: [", "update_failure"),
        ('{"resources": []}', "update_rejected"),
        (json.dumps({"resources": [{"@type": TYPE, "name": "a", "session_ticket_keys": {}}]}), "update_rejected"),
        (json.dumps({"resources": [{"@type": TYPE, "name": "b"}]}), "update_rejected"),
    ],
)
def test_what_is_not_the_secret_leaves_it_as_it_was(written, content, counted):
    written.put("sds.json", content)
    written.look()
    assert (written.chain, written.updates, written.count(counted)) == (b"one", 0, 1)


def test_of_two_secrets_none_is_taken(written):
    two = json.loads(written.response())
    two["resources"] *= 2
    written.put("sds.json", json.dumps(two))
    written.look()
    assert (written.updates, written.count("update_rejected")) == (0, 1)


def test_the_log_tells_no_words_of_a_secret(written, capfd):
    written.put("sds.json", json.dumps({"resources": [{"@type": TYPE, "name": "a", "password": "hunter2"}]}))
    written.look()
    assert "hunter2" not in capfd.readouterr().err
