from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config import fields, loader
from minienvoy.config.api import unpack
from minienvoy.config.fields import Unsupported
from minienvoy.config.leave_out import leave_out
from minienvoy.config.supported import import_everything

TYPES = "type.googleapis.com/envoy.extensions"
HCM = f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
WASM = {"name": "wasm", "typed_config": {"@type": f"{TYPES}.filters.http.wasm.v3.Wasm"}}
TLS = {"name": "tls", "typed_config": {"@type": f"{TYPES}.transport_sockets.alts.v3.Alts", "handshaker_service": "x"}}
CHECKS = {"validation_context": {"ca_certificate_provider_instance": {"instance_name": "x"}}}


@pytest.fixture(autouse=True)
def declarations() -> None:
    import_everything()


def listener(typed_config: dict[str, Any], **chain: Any) -> Any:
    filters = [{"name": "filter", "typed_config": typed_config}]
    return loader.load_dict(
        {"name": "main", "filter_chains": [{"filters": filters, **chain}]}, "envoy.config.listener.v3.Listener"
    ).message


def manager(http_filters: list[Any], route: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    routes = [{"match": {"prefix": "/"}, **(route or {"route": {"cluster": "c"}})}]
    virtual_hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    config = {"stat_prefix": "x", "http_filters": http_filters, "route_config": {"virtual_hosts": virtual_hosts}}
    return {"@type": HCM, **config, **more}


def manager_of(message: Any) -> Any:
    return unpack(message.filter_chains[0].filters[0].typed_config)


def left(message: Any) -> list[Unsupported]:
    """What is still not honoured afterwards."""
    leave_out(message, fields.unsupported(message))
    return fields.unsupported(message)


def test_values_go_back_to_their_default() -> None:
    message = loader.load_dict(
        {"name": "a", "enable_mptcp": True, "stat_prefix": "b", "api_listener": {}},
        "envoy.config.listener.v3.Listener",
    ).message
    assert left(message) == []
    assert (message.enable_mptcp, message.HasField("api_listener"), message.stat_prefix) == (False, False, "b")


def test_filters_that_nobody_knows_are_left_out_of_their_list() -> None:
    message = listener(manager([WASM, {**WASM, "name": "again"}, ROUTER]))
    assert left(message) == []
    assert [each.name for each in manager_of(message).http_filters] == ["router"]


def test_fields_inside_any_are_reached_and_the_rest_stays() -> None:
    route = {"name": "x", "route": {"cluster": "c", "timeout": "3s"}, "route_specifiers": [{"name": "y"}]}
    message = listener(manager([ROUTER], route, typed_header_validation_config={"name": "x"}, via="me"))
    assert left(message) == []
    found = manager_of(message)
    assert (found.via, found.HasField("typed_header_validation_config")) == ("me", False)
    (kept,) = found.route_config.virtual_hosts[0].routes
    assert kept.route.timeout.seconds == 3
    assert kept.name == "x"
    assert not kept.route_specifiers


def test_what_says_what_to_do_at_all_stays() -> None:
    specifier = {"inline_cluster_specifier_plugin": {"extension": {"name": "x", "typed_config": WASM["typed_config"]}}}
    message = listener(manager([ROUTER], {"route": specifier}))
    assert [item.path.rpartition(".")[2] for item in left(message)] == ["inline_cluster_specifier_plugin"]


def test_no_connection_becomes_a_plain_one() -> None:
    message = listener(manager([ROUTER]), transport_socket=TLS)
    assert [item.path for item in left(message)] == ["filter_chains[0].transport_socket.typed_config"]
    assert message.filter_chains[0].transport_socket.name == "tls"


def test_no_check_of_a_peer_is_left_out() -> None:
    context = {"@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": CHECKS}
    message = listener(manager([ROUTER]), transport_socket={"name": "tls", "typed_config": context})
    (kept,) = left(message)
    assert kept.path.endswith(
        "transport_socket.typed_config.common_tls_context.validation_context.ca_certificate_provider_instance"
    )


def test_a_network_filter_that_nobody_knows_stays() -> None:
    message = listener({"@type": f"{TYPES}.filters.network.redis_proxy.v3.RedisProxy", "stat_prefix": "x"} | REDIS)
    assert [item.path for item in left(message)] == ["filter_chains[0].filters[0].typed_config"]


REDIS = {"settings": {"op_timeout": "1s"}, "prefix_routes": {"catch_all_route": {"cluster": "c"}}}


def test_nothing_is_touched_where_everything_is_honoured() -> None:
    message = listener(manager([ROUTER], via="me"))
    before = message.SerializeToString(deterministic=True)
    assert left(message) == []
    assert message.SerializeToString(deterministic=True) == before


def test_typed_struct_becomes_what_it_stands_for_when_something_is_left_out() -> None:
    value = {
        "stat_prefix": "x",
        "typed_header_validation_config": {"name": "x"},
        "route_config": {},
        "http_filters": [ROUTER],
    }
    struct = {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": HCM, "value": value}
    message = listener(struct)
    assert left(message) == []
    assert manager_of(message).stat_prefix == "x"
    assert not manager_of(message).HasField("typed_header_validation_config")
