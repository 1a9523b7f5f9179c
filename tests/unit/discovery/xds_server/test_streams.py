"""Both protocols, message by message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.discovery.xds_server.delta_stream import DeltaStream
from minienvoy.discovery.xds_server.file_resources import FileResources
from minienvoy.discovery.xds_server.resources import (
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    Resources,
    in_order,
    name_of,
)
from minienvoy.discovery.xds_server.sotw_stream import SotwStream
from minienvoy.discovery.xds_server.wanted import MAX_NAMES, Wanted
from minienvoy.event.simulated import SimulatedDispatcher


class Server:
    """Resources, who wants which, and what was sent to the one client."""

    def __init__(self) -> None:
        self.resources = Resources()
        self.log: list[str] = []
        self.wanted = Wanted(lambda name: self.log.append(f"+{name}"), lambda name: self.log.append(f"-{name}"))
        self.sent: list[Any] = []

    def endpoints(self, **ports: int) -> None:
        messages = {}
        for name, port in ports.items():
            message = message_class("envoy.config.endpoint.v3.ClusterLoadAssignment")(cluster_name=name)
            endpoint = message.endpoints.add().lb_endpoints.add().endpoint
            endpoint.address.socket_address.address = "10.0.0.1"
            endpoint.address.socket_address.port_value = port
            messages[name] = message
        self.resources.put(ENDPOINTS, messages)

    def clusters(self, *names: str, gone: tuple[str, ...] = ()) -> None:
        make = message_class("envoy.config.cluster.v3.Cluster")
        self.resources.put(CLUSTERS, {name: make(name=name) for name in names}, gone=frozenset(gone))

    def told(self) -> list[Any]:
        sent = list(self.sent)
        self.sent.clear()
        return sent


@pytest.fixture
def server() -> Server:
    return Server()


# -- state of the world


class Sotw:
    def __init__(self, server: Server, type_url: str = "") -> None:
        self.stream = SotwStream(server.resources, server.wanted, server.sent.append, type_url)
        self.server = server

    def ask(self, type_url: str, *names: str, nonce: str = "", version: str = "", error: str = "") -> list[list[str]]:
        request = message_class("envoy.service.discovery.v3.DiscoveryRequest")(
            type_url=type_url, resource_names=names, response_nonce=nonce, version_info=version
        )
        if error:
            request.error_detail.message = error
        self.stream.on_request(request)
        return self.told()

    def told(self) -> list[list[str]]:
        """Of each response: its nonce, then the names in it."""
        return [[each.nonce, *map(self.name, each.resources)] for each in self.server.told()]

    @staticmethod
    def name(packed: Any) -> str:
        return name_of(message_class(packed.type_url.rpartition("/")[2]).FromString(packed.value))


def test_sotw_who_names_nothing_gets_every_cluster_and_every_change(server: Server) -> None:
    client = Sotw(server)
    server.clusters("a")
    assert client.ask(CLUSTERS) == [["1", "a"]]
    assert client.ask(CLUSTERS, nonce="1", version="1") == []
    server.clusters("b")
    assert client.told() == [["2", "a", "b"]]
    server.clusters(gone=("a",))
    assert client.told() == [["3", "b"]]


def test_sotw_to_have_no_listeners_is_an_answer(server: Server) -> None:
    assert Sotw(server).ask(LISTENERS) == [["1"]]


def test_sotw_endpoints_come_when_they_are_there(server: Server) -> None:
    client = Sotw(server)
    assert client.ask(ENDPOINTS, "web") == []
    assert server.log == ["+web"]
    server.endpoints(web=80, other=81)
    assert client.told() == [["1", "web"]]
    server.endpoints(other=82)
    assert client.told() == []
    server.endpoints(web=80)
    assert client.told() == [], "nothing has changed"
    server.endpoints(web=83)
    assert client.told() == [["2", "web"]]


def test_sotw_names_are_added_and_dropped(server: Server) -> None:
    client = Sotw(server)
    server.endpoints(a=1, b=2)
    assert client.ask(ENDPOINTS, "a") == [["1", "a"]]
    assert client.ask(ENDPOINTS, "a", "b", nonce="1") == [["2", "a", "b"]]
    assert client.ask(ENDPOINTS, "b", nonce="2") == [["3", "b"]]
    assert server.log == ["+a", "+b", "-a"]
    client.stream.close()
    assert server.log == ["+a", "+b", "-a", "-b"]


def test_sotw_a_request_that_the_response_has_crossed_is_forgotten(server: Server) -> None:
    client = Sotw(server)
    server.endpoints(a=1)
    assert client.ask(ENDPOINTS, "a") == [["1", "a"]]
    server.endpoints(a=2)
    assert client.told() == [["2", "a"]]
    assert client.ask(ENDPOINTS, "a", "b", nonce="1") == []
    assert client.ask(ENDPOINTS, "a", "b", nonce="2") == []
    assert server.log == ["+a", "+b"]


def test_sotw_who_asks_once_more_after_the_ack_is_told_once_more(server: Server) -> None:
    """Envoy does, for a new cluster whose endpoints another cluster has already."""
    client = Sotw(server)
    server.endpoints(a=1)
    assert client.ask(ENDPOINTS, "a") == [["1", "a"]]
    assert client.ask(ENDPOINTS, "a", nonce="1") == []
    assert client.ask(ENDPOINTS, "a", nonce="1") == [["2", "a"]]
    assert client.ask(ENDPOINTS, "a", nonce="1") == [], "the response has crossed it"
    assert client.ask(ENDPOINTS, "a", nonce="2", error="no") == []
    assert client.ask(ENDPOINTS, "a", nonce="2") == [["3", "a"]]


def test_sotw_a_name_that_is_added_before_the_first_response_is_no_second_question(server: Server) -> None:
    client = Sotw(server)
    assert client.ask(ENDPOINTS, "a") == []
    assert client.ask(ENDPOINTS, "a") == []
    server.endpoints(a=1)
    assert client.told() == [["1", "a"]]
    assert client.ask(ENDPOINTS, "a", nonce="1") == []


def test_sotw_what_is_refused_is_not_sent_again(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    client = Sotw(server)
    server.clusters("a")
    client.ask(CLUSTERS)
    assert client.ask(CLUSTERS, nonce="1", error="no such thing") == []
    server.clusters("b")
    assert client.told() == [["2", "a", "b"]]


def test_sotw_a_client_that_comes_again_is_told_where_things_are(server: Server) -> None:
    server.clusters("a")
    assert Sotw(server).ask(CLUSTERS, version="7") == [["1", "a"]]


def test_a_stream_for_one_type_has_no_other(server: Server) -> None:
    client = Sotw(server, ENDPOINTS)
    with pytest.raises(ValueError, match="no resources of the type"):
        client.ask(CLUSTERS)
    with pytest.raises(ValueError, match="no resources of the type ''"):
        Sotw(server).ask("")
    with pytest.raises(ValueError, match=f"more than {MAX_NAMES} names"):
        client.ask("", *map(str, range(MAX_NAMES + 1)))


# -- incremental


class Delta:
    def __init__(self, server: Server, type_url: str = "") -> None:
        self.stream = DeltaStream(server.resources, server.wanted, server.sent.append, type_url)
        self.server = server

    def ask(
        self, type_url: str, subscribe: tuple[str, ...] = (), unsubscribe: tuple[str, ...] = (), **has: str
    ) -> list[Any]:
        self.stream.on_request(
            message_class("envoy.service.discovery.v3.DeltaDiscoveryRequest")(
                type_url=type_url,
                resource_names_subscribe=subscribe,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions=has,
            )
        )
        return self.told()

    def told(self) -> list[Any]:
        """Of each response: the names in it, and those that are gone."""
        return [([each.name for each in sent.resources], list(sent.removed_resources)) for sent in self.server.told()]


def test_delta_only_what_has_changed_is_sent(server: Server) -> None:
    client = Delta(server)
    server.clusters("a", "b")
    assert client.ask(CLUSTERS) == [(["a", "b"], [])]
    server.clusters("c")
    assert client.told() == [(["c"], [])]
    server.clusters(gone=("a",))
    assert client.told() == [([], ["a"])]


def test_delta_who_comes_again_gets_the_difference(server: Server) -> None:
    server.endpoints(a=1)
    server.endpoints(b=2)
    client = Delta(server)
    has = {name: each.version for name, each in server.resources.of_type(ENDPOINTS).items()}
    assert client.ask(ENDPOINTS, ("a", "b", "c"), a=has["a"], b="old", c="old") == [(["b"], ["c"])]


def test_delta_who_comes_from_another_run_of_the_server_gets_the_difference() -> None:
    """Versions are made of what is in a resource: as many changes on the other side do not make the same one."""
    before, now = Server(), Server()
    before.endpoints(a=1, b=1)
    now.endpoints(a=1, b=2)
    has = {name: each.version for name, each in before.resources.of_type(ENDPOINTS).items()}
    assert Delta(now).ask(ENDPOINTS, ("a", "b"), **has) == [(["b"], [])]


def test_sotw_who_comes_again_when_everything_is_gone_is_told(server: Server) -> None:
    client = Sotw(server)
    assert client.ask(CLUSTERS, version="7") == [["1"]]


def test_delta_names_come_and_go(server: Server) -> None:
    client = Delta(server)
    server.endpoints(a=1, b=2)
    assert client.ask(ENDPOINTS, ("a",)) == [(["a"], [])]
    assert client.ask(ENDPOINTS, ("b",), ("a",)) == [(["b"], [])]
    server.endpoints(a=3)
    assert client.told() == []
    assert client.ask(ENDPOINTS, ("b",)) == [(["b"], [])], "who asks again is told again"
    client.stream.close()
    assert server.log == ["+a", "+b", "-a", "-b"]


def test_delta_endpoints_are_told_again_after_their_clusters(server: Server) -> None:
    """Envoy waits for them, and does not ask: it has the name already."""
    make = message_class("envoy.config.cluster.v3.Cluster")
    eds = {"service_name": "a"}
    client = Delta(server)
    server.endpoints(a=1, b=1)
    server.clusters("b")
    client.ask(CLUSTERS)
    client.ask(ENDPOINTS, ("a", "b"))
    server.resources.put(CLUSTERS, {"new": make(name="new", eds_cluster_config=eds)})
    assert client.told() == [(["new"], []), (["a"], [])]
    server.resources.put(CLUSTERS, {"b": make(name="b", alt_stat_name="c"), "other": make(name="other")})
    assert client.told() == [(["b", "other"], []), (["b"], [])]
    server.clusters(gone=("new",))
    assert client.told() == [([], ["new"])]


def test_delta_wildcards_are_named_and_dropped(server: Server) -> None:
    client = Delta(server)
    server.clusters("a")
    assert client.ask(CLUSTERS, ("*",)) == [(["a"], [])]
    assert client.ask(CLUSTERS, (), ("*",)) == []
    server.clusters("b")
    assert client.told() == []


def test_delta_an_empty_wildcard_is_answered(server: Server) -> None:
    assert Delta(server).ask(LISTENERS) == [([], [])]


def test_delta_bounds(server: Server) -> None:
    with pytest.raises(ValueError, match=f"more than {MAX_NAMES} names"):
        Delta(server).ask(ENDPOINTS, tuple(map(str, range(MAX_NAMES + 1))))
    with pytest.raises(ValueError, match="no resources of the type"):
        Delta(server, ENDPOINTS).ask(CLUSTERS)


def test_clusters_are_told_before_what_names_them() -> None:
    assert in_order([ROUTES, "other", LISTENERS, ENDPOINTS, CLUSTERS]) == [
        CLUSTERS,
        ENDPOINTS,
        LISTENERS,
        ROUTES,
        "other",
    ]


def test_what_is_gone_is_told_after_what_named_it(tmp_path: Path) -> None:
    """Make before break: the new cluster, the route that goes there, and only then the end of the old cluster."""

    def write(name: str) -> None:
        cluster = f'{{"@type": "{CLUSTERS}", name: {name}, connect_timeout: 1s}}'
        hosts = f"[{{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: {name}}}}}]}}]"
        route = f'{{"@type": "{ROUTES}", name: all, virtual_hosts: {hosts}}}'
        (tmp_path / "file.yaml").write_text(f"resources: [{cluster}, {route}]\n")

    resources = Resources()
    told: list[tuple[str, list[str]]] = []
    resources.watch(lambda type_url, _: told.append((type_url, sorted(resources.of_type(type_url)))))
    write("old")
    files = FileResources(str(tmp_path / "file.yaml"), resources, SimulatedDispatcher(NoLoop()))  # type: ignore[arg-type]
    files.load()
    write("new")
    files.load()
    assert told == [
        (CLUSTERS, ["old"]),
        (ROUTES, ["all"]),
        (CLUSTERS, ["new", "old"]),
        (ROUTES, ["all"]),
        (CLUSTERS, ["new"]),
    ]


class NoLoop:
    def time(self) -> float:
        return 0.0


def test_endpoints_are_wanted_as_often_as_somebody_wants_them(server: Server) -> None:
    one, other = Sotw(server), Delta(server)
    one.ask(ENDPOINTS, "a")
    other.ask(ENDPOINTS, ("a",))
    one.stream.close()
    assert server.log == ["+a"]
    other.stream.close()
    assert server.log == ["+a", "-a"]
