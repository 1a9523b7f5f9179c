"""Settings of an HTTP connection manager that change what goes through it a little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.extensions import register_catalogue
from tests.unit.http_bench import GET, Bench

MakeBench = Callable[..., Bench]
HTTP = "type.googleapis.com/envoy.extensions.http"
XFF = f"{HTTP}.original_ip_detection.xff.v3.XffConfig"
CUSTOM = f"{HTTP}.original_ip_detection.custom_header.v3.CustomHeaderConfig"
MUTATION = f"{HTTP}.early_header_mutation.header_mutation.v3.HeaderMutation"
INTERNAL = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}

register_catalogue()


def detection(*configs: dict[str, Any]) -> dict[str, Any]:
    return {"original_ip_detection_extensions": [{"name": "d", "typed_config": each} for each in configs]}


def mutation(*mutations: dict[str, Any]) -> dict[str, Any]:
    config = {"@type": MUTATION, "mutations": list(mutations)}
    return {"early_header_mutation_extensions": [{"name": "m", "typed_config": config}]}


# -- proxy-status


def test_proxy_status_tells_what_went_wrong(bench: MakeBench) -> None:
    b = bench([], hcm={"proxy_status_config": {}})
    status = b'proxy-status: envoy; error=destination_not_found; details="route_not_found; NR"\r\n'
    assert status in b.client().send(GET).received()


def test_proxy_status_may_leave_details_out_and_decide_the_status(bench: MakeBench) -> None:
    config = {"literal_proxy_name": "me", "remove_details": True, "set_recommended_response_code": True}
    b = bench(hcm={"proxy_status_config": config})
    client = b.client().send(GET)
    b.upstream.close()
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"proxy-status: me; error=connection_terminated\r\n" in answer
    assert b.stat("http.downstream_rq_5xx") == 1


@pytest.mark.parametrize("config", [{"use_node_id": True, "remove_response_flags": True}])
def test_proxy_status_by_the_name_of_the_node(bench: MakeBench, config: dict[str, Any]) -> None:
    b = bench([], hcm={"proxy_status_config": config})
    status = b'proxy-status: node; error=destination_not_found; details="route_not_found"\r\n'
    assert status in b.client().send(GET).received()


def test_an_answer_without_an_error_has_no_proxy_status(bench: MakeBench) -> None:
    b = bench(hcm={"proxy_status_config": {}})
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    assert b"proxy-status" not in client.received()


# -- scheme


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_scheme_is_overwritten_and_so_is_what_was_forwarded(bench: MakeBench, scheme: str) -> None:
    b = bench(hcm={"scheme_header_transformation": {"scheme_to_overwrite": scheme}})
    b.client().get("/", "x-forwarded-proto: other")
    assert b"x-forwarded-proto: %b\r\n" % scheme.encode() in b.upstream.received()
    assert b.clients[0].manager.stream.request_headers.scheme == scheme.encode()  # type: ignore[union-attr]


# -- who the client is


@pytest.mark.parametrize(
    ("config", "headers", "client"),
    [
        ({"@type": XFF, "xff_num_trusted_hops": 1}, ["x-forwarded-for: 1.2.3.4, 5.6.7.8"], "1.2.3.4"),
        ({"@type": XFF, "xff_num_trusted_hops": 1}, ["x-forwarded-for: 5.6.7.8"], "127.0.0.1"),
        ({"@type": XFF}, ["x-forwarded-for: nonsense"], "127.0.0.1"),
        ({"@type": CUSTOM, "header_name": "X-Client"}, ["x-client: ::1"], "::1"),
        ({"@type": CUSTOM, "header_name": "X-Client"}, ["x-client: nonsense"], "127.0.0.1"),
    ],
)
def test_the_client_is_whom_the_extension_finds(
    bench: MakeBench, config: dict[str, Any], headers: list[str], client: str
) -> None:
    b = bench(hcm=detection(config))
    b.client().get("/", *headers)
    assert b.clients[0].manager.stream.connection.remote_address.host == client  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("1.2.3.4, 5.6.7.8, 10.0.0.1", "5.6.7.8"),
        ("10.0.0.1,10.0.0.2", "10.0.0.1"),
        ("a, 10.0.0.2", "127.0.0.1"),
        (",".join(["10.0.0.1"] * 21), "127.0.0.1"),
    ],
)
def test_trusted_networks_are_passed_over(bench: MakeBench, forwarded: str, client: str) -> None:
    local = {"address_prefix": "127.0.0.1", "prefix_len": 32}
    b = bench(hcm=detection({"@type": XFF, "xff_trusted_cidrs": {"cidrs": [*INTERNAL["cidr_ranges"], local]}}))
    b.client().get("/", f"x-forwarded-for: {forwarded}")
    assert b.clients[0].manager.stream.connection.remote_address.host == client  # type: ignore[union-attr]


def test_a_peer_that_is_not_trusted_is_not_asked(bench: MakeBench) -> None:
    b = bench(hcm=detection({"@type": XFF, "xff_trusted_cidrs": {"cidrs": INTERNAL["cidr_ranges"]}}))
    b.client().get("/", "x-forwarded-for: 1.2.3.4")
    assert b.clients[0].manager.stream.connection.remote_address.host == "127.0.0.1"  # type: ignore[union-attr]


def test_the_peer_is_appended_if_the_extension_wants_it(bench: MakeBench) -> None:
    b = bench(hcm=detection({"@type": XFF, "skip_xff_append": False}))
    b.client("9.9.9.9").get("/", "x-forwarded-for: 1.2.3.4")
    assert b"x-forwarded-for: 1.2.3.4,9.9.9.9\r\n" in b.upstream.received()


@pytest.mark.parametrize("trusted", [True, False])
def test_a_detected_address_is_internal_only_if_it_is_trusted(bench: MakeBench, trusted: bool) -> None:
    config = {"@type": CUSTOM, "header_name": "x-client", "allow_extension_to_set_address_as_trusted": trusted}
    b = bench(hcm={**detection(config), "internal_address_config": INTERNAL})
    b.client().get("/", "x-client: 10.1.1.1")
    assert (b"x-envoy-internal: true\r\n" in b.upstream.received()) is trusted


@pytest.mark.parametrize(("status", "answer"), [("Unauthorized", b"401 Unauthorized"), ("OK", b"403 Forbidden")])
def test_a_request_of_nobody_is_rejected_if_it_is_to(bench: MakeBench, status: str, answer: bytes) -> None:
    b = bench(hcm=detection({"@type": CUSTOM, "header_name": "x-client", "reject_with_status": {"code": status}}))
    assert b.client().send(GET).received().startswith(b"HTTP/1.1 " + answer)
    assert b.stream.response_code_details == "rejecting_because_detection_failed"
    assert b.upstreams == []


def test_two_ways_to_trust_contradict_each_other(bench: MakeBench) -> None:
    config = {"@type": XFF, "xff_num_trusted_hops": 1, "xff_trusted_cidrs": {"cidrs": INTERNAL["cidr_ranges"]}}
    with pytest.raises(ConfigError, match=r"original_ip_detection_extensions\[0\]\.typed_config\.xff_num_trusted_hops"):
        bench(hcm=detection(config))


# -- early header mutation


def test_headers_are_changed_before_anything_looks_at_them(bench: MakeBench) -> None:
    steps = (
        {"append": {"header": {"key": "x-new", "value": "%REQ(:path)%"}}},
        {"append": {"header": {"key": "x-forwarded-proto", "value": "https"}}},
        {"remove": "x-gone"},
        {"remove_on_match": {"key_matcher": {"prefix": "x-tmp-"}}},
    )
    b = bench(hcm={**mutation(*steps), "generate_request_id": False})
    b.client().get("/p", "x-gone: 1", "x-tmp-a: 1", "x-tmp-b: 2", "x-stay: 1")
    assert b.upstream.received() == (
        b"GET /p HTTP/1.1\r\nhost: a.com\r\nx-stay: 1\r\nx-new: /p\r\nx-forwarded-proto: https\r\n"
        b"x-envoy-expected-rq-timeout-ms: 15000\r\n\r\n"
    )


def test_a_mutation_of_the_path_is_refused_with_its_place(bench: MakeBench) -> None:
    with pytest.raises(ConfigError, match=r"early_header_mutation_extensions\[0\]\.typed_config\.mutations\[0\]"):
        bench(hcm=mutation({"append": {"header": {"key": ":path", "value": "/"}}}))


# -- upgrades that are none


@pytest.mark.parametrize("upgrade", ["TLS/1.2", "TLS/1.3, foo"])
def test_an_ignored_upgrade_is_taken_out(bench: MakeBench, upgrade: str) -> None:
    b = bench(hcm={"http_protocol_options": {"ignore_http_11_upgrade": [{"prefix": "TLS/"}, {"exact": "foo"}]}})
    b.client().get("/", "connection: upgrade, keep-alive", f"upgrade: {upgrade}")
    assert b"pgrade" not in b.upstream.received()


def test_what_is_left_of_an_upgrade_is_one(bench: MakeBench) -> None:
    b = bench(hcm={"http_protocol_options": {"ignore_http_11_upgrade": [{"exact": "foo"}]}})
    client = b.client().get("/", "connection: upgrade", "upgrade: foo, websocket")
    assert client.received().startswith(b"HTTP/1.1 403 Forbidden\r\n")


def test_one_listener_ignores_what_another_does_not(bench: MakeBench) -> None:
    request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n"
    strict = bench()
    for _ in range(2):
        assert strict.client().send(request).received().startswith(b"HTTP/1.1 403 ")
    ignoring = bench(hcm={"http_protocol_options": {"ignore_http_11_upgrade": [{"exact": "foo"}]}})
    ignoring.client().send(request)
    assert ignoring.upstream.received().startswith(b"GET / ")
