"""A subscription to a file: what is counted of each reading, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import minienvoy.router.config  # noqa: F401 - declares what is honoured
from minienvoy.config.loader import load_message
from minienvoy.discovery.filesystem import FilesystemSubscription
from minienvoy.discovery.subscription import FileContext, file_of
from minienvoy.errors import ConfigError
from minienvoy.event.file_watcher import INTERVAL, FileWatcher
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.stats.store import Store

ROUTES = "envoy.config.route.v3.RouteConfiguration"


class NoLoop(asyncio.AbstractEventLoop):
    def time(self) -> float:
        return 0.0


class Subscribed:
    def __init__(self, directory: Path, *, warn: bool = False) -> None:
        self.path = directory / "rds.json"
        self.taken: list[tuple[list[str], str]] = []
        self.refuse = ""
        self.unknown = 0
        self.dispatcher = SimulatedDispatcher(NoLoop())
        self.stats = Store()
        context = FileContext(FileWatcher(self.dispatcher), lambda: 12.5, warn=warn, on_unknown_fields=self._on_unknown)
        self.subscription = FilesystemSubscription(
            (str(self.path), ""), ROUTES, context, self.stats.scope("rds.r"), self._on_update
        )

    def _on_unknown(self, count: int) -> None:
        self.unknown += count

    def _on_update(self, resources: Sequence[Any], version: str) -> None:
        if self.refuse:
            raise ConfigError(self.refuse)
        self.taken.append(([each.name for each in resources], version))

    def put(self, version: str, *resources: dict[str, Any], kind: str = ROUTES) -> None:
        packed = [{"@type": f"type.googleapis.com/{kind}", **each} for each in resources]
        new = self.path.with_name("new")
        new.write_text(json.dumps({"version_info": version, "resources": packed}))
        new.replace(self.path)

    def look(self) -> None:
        self.dispatcher.advance(INTERVAL * 2)

    def counts(self) -> dict[str, int]:
        names = ("attempt", "success", "failure", "rejected")
        return {name: self.stats.value(f"rds.r.update_{name}") for name in names}


def test_what_is_there_is_taken_at_once_and_again_when_it_was_replaced(tmp_path: Path) -> None:
    watched = Subscribed(tmp_path)
    watched.put("1", {"name": "r"})
    watched.subscription.start()
    watched.put("2", {"name": "r"}, {"name": "s"})
    watched.look()
    assert watched.taken == [(["r"], "1"), (["r", "s"], "2")]
    assert watched.subscription.version == "2"
    assert watched.counts() == {"attempt": 2, "success": 2, "failure": 0, "rejected": 0}
    assert watched.stats.value("rds.r.update_time") == 12500


def test_who_has_stopped_hears_no_more(tmp_path: Path) -> None:
    watched = Subscribed(tmp_path)
    watched.put("1")
    watched.subscription.start()
    watched.subscription.stop()
    watched.put("2")
    watched.look()
    assert watched.taken == [([], "1")]


def test_a_file_that_can_not_be_read_is_a_failure(tmp_path: Path) -> None:
    watched = Subscribed(tmp_path)
    watched.path.write_text("{")
    watched.subscription.start()
    assert watched.counts() == {"attempt": 1, "success": 0, "failure": 1, "rejected": 0}


@pytest.mark.parametrize(
    ("resource", "kind"),
    [
        pytest.param({"name": "c"}, "envoy.config.cluster.v3.Cluster", id="of another type"),
        pytest.param({"vhds": {}}, ROUTES, id="with a field that is not honoured"),
        pytest.param({"virtual_hosts": [{"name": ""}]}, ROUTES, id="that breaks a rule of the API"),
    ],
)
def test_a_resource_is_rejected(tmp_path: Path, resource: dict[str, Any], kind: str) -> None:
    watched = Subscribed(tmp_path)
    watched.put("1", resource, kind=kind)
    watched.subscription.start()
    assert watched.taken == []
    assert watched.counts() == {"attempt": 1, "success": 0, "failure": 0, "rejected": 1}
    assert watched.subscription.version == ""


def test_who_uses_resources_may_reject_them(tmp_path: Path) -> None:
    watched = Subscribed(tmp_path)
    watched.refuse = "no"
    watched.put("1")
    watched.subscription.start()
    assert watched.counts() == {"attempt": 1, "success": 0, "failure": 0, "rejected": 1}


def test_what_is_not_honoured_is_left_out_where_that_was_asked_for(tmp_path: Path) -> None:
    watched = Subscribed(tmp_path, warn=True)
    watched.put("1", {"name": "r", "vhds": {"config_source": {"ads": {}}}})
    watched.subscription.start()
    assert watched.taken == [(["r"], "1")]


def test_fields_that_nobody_knows_are_counted(tmp_path: Path) -> None:
    watched = Subscribed(tmp_path)
    watched.put("1", {"name": "r", "colour": 1, "size": 2})
    watched.subscription.start()
    assert (watched.taken, watched.unknown) == ([(["r"], "1")], 2)


def _source(text: str) -> Any:
    return load_message(text, "envoy.config.core.v3.ConfigSource").message


def test_a_file_that_is_not_there_is_refused_in_envoys_words() -> None:
    with pytest.raises(ConfigError, match="paths must refer to an existing path in the system: '/no' does not exist"):
        file_of(_source("{path: /no}"), "lds_config")
