from __future__ import annotations

import json

from minienvoy.record import replace
from minienvoy.server.memory import read_memory_stats

from .conftest import recorded


def test_ready_says_live(ask):
    response = ask("/ready")
    assert (response.status, response.body) == (200, b"LIVE\n")


def test_failed_health_checks_make_a_live_server_not_ready(ask, server):
    server.health_check_failed = True
    response = ask("/ready")
    assert (response.status, response.body) == (503, b"DRAINING\n")


def test_a_server_that_initializes_says_so_whatever_its_health(ask, server):
    server.state, server.health_check_failed = "PRE_INITIALIZING", True
    response = ask("/ready")
    assert (response.status, response.body) == (503, b"PRE_INITIALIZING\n")


def test_server_info_has_envoys_fields_in_envoys_order(ask, server, dispatcher):
    version = server.node.user_agent_build_version
    server.node.user_agent_name = "envoy"
    version.version.major_number, version.version.minor_number = 1, 40
    for key, value in json.loads(recorded("server_info.json"))["node"]["user_agent_build_version"]["metadata"].items():
        version.metadata.fields[key].string_value = value
    dispatcher.advance(845.9)
    ours = json.loads(ask("/server_info").body)
    envoys = json.loads(recorded("server_info.json"))
    assert any(each["name"] == "envoy.filters.http.router" for each in ours["node"]["extensions"])
    # The recording is without them.
    ours["node"]["extensions"] = envoys["node"]["extensions"]
    assert list(ours) == list(envoys)
    for its_own in ("version", "hot_restart_version"):
        del ours[its_own], envoys[its_own]
    assert ours == envoys
    assert list(ours["command_line_options"]) == list(envoys["command_line_options"])
    assert list(ours["node"]) == list(envoys["node"])


def test_server_info_shows_the_command_line(ask, server):
    server.options = replace(server.options, concurrency=3, drain_strategy="immediate", stats_tags=(("a", "b"),))
    shown = json.loads(ask("/server_info").body)["command_line_options"]
    assert (shown["concurrency"], shown["drain_strategy"], shown["stats_tag"]) == (3, "Immediate", ["a:b"])


def test_memory_is_real(ask):
    response = ask("/memory")
    shown = json.loads(response.body)
    assert dict(response.headers)["content-type"] == "application/json"
    assert list(shown) == [
        "allocated",
        "heap_size",
        "pageheap_unmapped",
        "pageheap_free",
        "total_thread_cache",
        "total_physical_bytes",
    ]
    assert 0 < int(shown["allocated"]) <= int(shown["total_physical_bytes"])
    assert read_memory_stats().physical > 1_000_000


def test_no_certificates_are_shown(ask):
    assert ask("/certs").body.decode() == recorded("certs.json")


def test_hot_restart_is_disabled(ask):
    assert ask("/hot_restart_version").body == b"disabled"
