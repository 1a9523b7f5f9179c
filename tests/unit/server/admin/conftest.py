"""An admin interface whose server is made of parts that need no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minienvoy.config.loader import load_message
from minienvoy.config.runtime import Loader
from minienvoy.config.schema import message_class
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.extensions import register_catalogue
from minienvoy.network.address import Address
from minienvoy.server.admin.admin import Admin
from minienvoy.server.admin.request import AdminRequest, AdminResponse
from minienvoy.server.options import Options
from minienvoy.stats.flush import StatsFlusher
from minienvoy.stats.settings import StatsSettings
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import ClusterContext
from minienvoy.upstream.cluster_manager import ClusterManager

RECORDED = Path(__file__).parent / "recorded"
BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"


def recorded(name: str) -> str:
    """What Envoy answered."""
    return (RECORDED / name).read_text()


def bootstrap_of(text: str) -> Any:
    return load_message(text, BOOTSTRAP).message


class Listener:
    def __init__(self, name: str, *addresses: Address) -> None:
        self.name = name
        self.local_addresses = addresses
        self.config: Any = None
        self.version_info = ""
        self.last_updated = 0.0


class ListenerManager:
    def __init__(self) -> None:
        self.all: list[Listener] = []
        self.drained: list[tuple[str, bool, bool]] = []

    def listeners(self) -> list[Listener]:
        return self.all

    def warming_listeners(self) -> list[Listener]:
        return []

    def draining_listeners(self) -> list[Listener]:
        return []

    def added_via_api(self, name: str) -> bool:
        return False

    def drain_listeners(self, kind: Any, *, graceful: bool, skip_exit: bool) -> None:
        self.drained.append((kind.name, graceful, skip_exit))


class AccessLogs:
    def __init__(self) -> None:
        self.reopened = 0

    def reopen(self) -> None:
        self.reopened += 1


class Server:
    """Everything `AdminServer` asks for."""

    def __init__(self, dispatcher: SimulatedDispatcher, bootstrap: Any) -> None:
        self.options = Options(config_path="e.yaml", use_dynamic_base_id=True, admin_address_path="addr")
        self.bootstrap = bootstrap
        self.node = message_class("envoy.config.core.v3.Node")()
        self.node.CopyFrom(bootstrap.node)
        self.stats = Store()
        self.dispatcher = dispatcher
        self.stats_flusher = StatsFlusher(self.stats, dispatcher)
        self.tag_settings = StatsSettings()
        self.runtime = Loader(bootstrap.layered_runtime if bootstrap.HasField("layered_runtime") else None)
        self.secrets = None
        self.cluster_manager = ClusterManager(ClusterContext(dispatcher, RandomGenerator(7), self.stats))
        # Only those that need no resolver; `/config_dump` shows all of them nevertheless.
        self.cluster_manager.load([each for each in bootstrap.static_resources.clusters if not each.type])
        self.cluster_manager.start(lambda: None)
        self.listener_manager = ListenerManager()
        self.access_logs = AccessLogs()
        self.explanations: Any = None
        self.state = "LIVE"
        self.health_check_failed = False
        self.start_monotonic = 0.0
        self.unsupported: list[Any] = []
        taken = dispatcher.wall_time()
        self.static_listeners = [(each, taken) for each in bootstrap.static_resources.listeners]
        self.static_clusters = [(each, taken) for each in bootstrap.static_resources.clusters]
        self.route_configs: dict[str, tuple[Any, float]] = {}
        self.scoped_routes: list[tuple[Any, float]] = []
        self.cds = self.lds = self.route_providers = None
        self.shut_down = False

    def fail_health_check(self, fail: bool) -> None:
        self.health_check_failed = fail

    def shutdown(self) -> None:
        self.shut_down = True


@pytest.fixture
def dispatcher() -> Iterator[SimulatedDispatcher]:
    loop = asyncio.new_event_loop()
    yield SimulatedDispatcher(loop)
    loop.close()


@pytest.fixture
def make_server(dispatcher: SimulatedDispatcher) -> Callable[[str], Server]:
    register_catalogue()
    return lambda text: Server(dispatcher, bootstrap_of(text))


@pytest.fixture
def server(make_server: Callable[[str], Server]) -> Server:
    return make_server("node: {id: n1, cluster: c1}")


@pytest.fixture
def admin(server: Server) -> Admin:
    return Admin(server)


Ask = Callable[..., AdminResponse]


@pytest.fixture
def ask(admin: Admin) -> Ask:
    """`ask("/ready")`, `ask("/logging?level=debug", "POST")`."""

    def ask(target: str, method: str = "GET", content_type: str = "", body: bytes = b"") -> AdminResponse:
        response = admin.run(AdminRequest.from_parts(method, target, content_type, body))
        response.body = response.rendered()
        return response

    return ask
