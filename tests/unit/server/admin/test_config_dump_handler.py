from __future__ import annotations

import json

import pytest

from minienvoy.config.loader import load_message
from minienvoy.server.admin.admin import Admin
from minienvoy.server.admin.request import AdminRequest

from .conftest import recorded

WALL_TIME = "2023-11-14T22:13:20Z"


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key != "last_updated"}
    return [without_times(each) for each in value] if isinstance(value, list) else value


@pytest.fixture
def server(make_server):
    server = make_server(recorded("config_dump.yaml"))
    node = json.loads(recorded("config_dump.json"))["configs"][0]["bootstrap"]["node"]
    server.bootstrap.node.CopyFrom(load_message(json.dumps(node), "envoy.config.core.v3.Node").message)
    listener = server.bootstrap.static_resources.listeners[0]
    packed = listener.filter_chains[0].filters[0].typed_config
    name = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    manager = load_message("{}", name).message.FromString(packed.value)
    server.route_configs = {"local_route": (manager.route_config, 1_700_000_000.0)}
    return server


def dump(ask, query):
    response = ask(f"/config_dump?{query}")
    assert response.status == 200, response.body
    assert dict(response.headers)["content-type"] == "application/json"
    return json.loads(response.body)


def types(dumped):
    return [config["@type"].rpartition(".")[2] for config in dumped["configs"]]


def without_extensions(dump):
    """What the server is made of differs; the recording is without it."""
    extensions = dump["configs"][0]["bootstrap"]["node"].pop("extensions")
    assert any(each["name"] == "envoy.filters.http.router" for each in extensions)
    return dump


def test_everything_is_dumped_as_envoy_dumps_it(ask):
    ours = without_extensions(json.loads(ask("/config_dump").body))
    envoys = json.loads(recorded("config_dump.json"))
    assert types(ours) == types(envoys)
    assert without_times(ours) == without_times(envoys)


def test_fields_stand_in_envoys_order(ask):
    def order(value):
        if isinstance(value, dict):
            # Maps have no order in Envoy.
            unordered = {"x", "static_layer", "a.b", "metadata"}
            return [(key, None if key in unordered else order(each)) for key, each in value.items()]
        return [order(each) for each in value] if isinstance(value, list) else None

    ours = without_extensions(json.loads(ask("/config_dump").body))
    assert order(ours) == order(json.loads(recorded("config_dump.json")))


def test_a_resource_is_dumped_byte_for_byte(make_server):
    envoys = recorded("config_dump_static_listeners.json")
    listeners = [entry["listener"] for entry in json.loads(envoys)["configs"]]
    for listener in listeners:
        del listener["@type"]
    server = make_server(json.dumps({"static_resources": {"listeners": listeners}}))
    # 2026-11-23T05:23:03.257Z and .259Z
    times = (1795411383.2575, 1795411383.2595)
    server.static_listeners = [(each, when) for (each, _), when in zip(server.static_listeners, times, strict=True)]
    response = Admin(server).run(AdminRequest.from_parts("GET", "/config_dump?resource=static_listeners"))
    assert response.body.decode() == envoys


def test_a_mask_leaves_what_it_names(ask):
    response = ask("/config_dump?mask=bootstrap.node.id")
    assert response.body.decode() == recorded("config_dump_mask.json")


def test_a_mask_reaches_into_the_resource(ask):
    assert dump(ask, "resource=static_listeners&mask=listener.name,last_updated") == {
        "configs": [
            {
                "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.StaticListener",
                "listener": {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": name},
                "last_updated": WALL_TIME,
            }
            for name in ("main", "tcp")
        ]
    }


def test_a_mask_of_a_field_and_of_a_part_of_it_gives_all_of_it(ask):
    dumped = dump(ask, "mask=bootstrap.node,bootstrap.node.id")
    assert list(dumped["configs"][0]["bootstrap"]["node"])[:2] == ["id", "cluster"]
    assert dumped == dump(ask, "mask=bootstrap.node.id,bootstrap.node")


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [
        ("resource=foo", 404, "foo not found in config dump"),
        (
            "resource=bootstrap",
            400,
            "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
        ),
        ("mask=foo", 400, "FieldMask foo could not be successfully applied to any configs."),
        ("mask=a..b", 400, "FieldMask a..b could not be successfully applied to any configs."),
        (
            "mask=bootstrap.node.id,dynamic_listeners",
            400,
            "FieldMask bootstrap.node.id,dynamic_listeners could not be successfully applied to any configs.",
        ),
        (
            "mask=static_clusters.cluster",
            400,
            "FieldMask static_clusters.cluster could not be successfully applied to any configs.",
        ),
        (
            "name_regex=*",
            400,
            "INVALID_ARGUMENT: Error while parsing name_regex from *: no argument for repetition operator: *",
        ),
    ],
)
def test_wrong_queries_are_refused_in_envoys_words(ask, query, status, body):
    response = ask(f"/config_dump?{query}")
    assert (response.status, response.body.decode()) == (status, body)
    assert ("content-type", "text/plain") in response.headers


def test_a_mask_that_does_not_fit_a_resource_is_refused(ask):
    response = ask("/config_dump?resource=static_clusters&mask=cluster.name,bar")
    assert response.status == 400
    # Envoy begins the text of the mask with a word that changes from build to build.
    assert response.body.decode() == ('FieldMask paths: "cluster.name"\npaths: "bar"\n could not be successfully used.')


def test_a_resource_that_there_is_none_of_is_an_empty_message(ask):
    assert ask("/config_dump?resource=dynamic_listeners").body == b"{}\n"


def test_names_must_match_as_a_whole(ask):
    clusters = dump(ask, "resource=static_clusters&name_regex=.*2")["configs"]
    assert [entry["cluster"]["name"] for entry in clusters] == ["svc2"]
    assert ask("/config_dump?resource=static_clusters&name_regex=sv").body == b"{}\n"


def test_dumps_without_a_match_are_still_there(ask):
    dumped = dump(ask, "name_regex=nomatch")
    assert types(dumped) == types(dump(ask, ""))
    assert dumped["configs"][1] == {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"}


def test_endpoints_are_dumped_on_demand(ask):
    assert types(dump(ask, "include_eds"))[2] == "EndpointsConfigDump"
    (ours,) = dump(ask, "include_eds&resource=static_endpoint_configs")["configs"]
    assert ours == json.loads(recorded("config_dump_endpoints.json"))["configs"][0]
    assert ask("/config_dump?resource=static_endpoint_configs").status == 404


def test_secrets_are_redacted_everywhere(ask):
    body = ask("/config_dump").body
    assert b"hush" not in body
    assert body.count(b'"inline_string": "[redacted]"') == 2


def test_clusters_of_an_api_are_dumped_as_dynamic(ask, server):
    config = load_message('{"name": "added"}', "envoy.config.cluster.v3.Cluster").message
    server.cluster_manager.add_or_update_cluster(config)
    (entry,) = dump(ask, "resource=dynamic_active_clusters")["configs"]
    assert entry["cluster"] == {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "added"}


def test_a_subscription_says_what_it_has(admin, ask):
    def dump_listeners(matcher):
        message = load_message("{version_info: v1}", "envoy.admin.v3.ListenersConfigDump").message
        if matcher("a"):
            message.dynamic_listeners.add(name="a")
        return message

    admin.config_tracker.add("listeners", dump_listeners)
    assert dump(ask, "resource=dynamic_listeners") == {
        "configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener", "name": "a"}]
    }
    assert ask("/config_dump?resource=dynamic_listeners&name_regex=b").body == b"{}\n"


def test_the_node_is_dumped_as_configured_whatever_the_command_line_says(ask, server):
    server.node.id = "from the command line"
    node = json.loads(ask("/config_dump").body)["configs"][0]["bootstrap"]["node"]
    assert node["id"] == "n1"


def test_scopes_are_found_by_their_own_name(ask, server):
    name = "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes"
    scope = "name: {0}, key: {{fragments: [{{string_key: {0}}}]}}, route_configuration: {{name: r{0}}}"
    scopes = f"[{{{scope.format('a')}}}, {{{scope.format('b')}}}]"
    text = f"name: scopes\nscoped_route_configurations_list: {{scoped_route_configurations: {scopes}}}"
    server.scoped_routes = [(load_message(text, name).message, 1_700_000_000.0)]
    [one] = dump(ask, "resource=inline_scoped_route_configs&name_regex=b")["configs"]
    assert one["name"] == "scopes"
    assert [each["name"] for each in one["scoped_route_configs"]] == ["b"]
    assert one["last_updated"] == "2023-11-14T22:13:20Z"
