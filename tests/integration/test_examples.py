"""The 49 files of Envoy's own examples: each is taken, or refused only for what is not there yet."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import ClientSession, web

from minienvoy import Proxy
from minienvoy.config.fields import Unsupported, unsupported
from minienvoy.config.loader import LoadedConfig, load_bootstrap
from minienvoy.config.supported import import_everything
from minienvoy.errors import ConfigError
from minienvoy.server.main_common import validate
from minienvoy.server.options import Options
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream, Reply

EXAMPLES = Path(__file__).parents[1] / "data" / "examples"


class Feature(NamedTuple):
    """What is not there yet: a message type as a whole, one of its fields, or one value of a field."""

    message: str
    field: str = ""
    value: str = ""


HTTP_FILTERS = "envoy.extensions.filters.http"
ROUTE_ACTION = "envoy.config.route.v3.RouteAction"

FEATURES = {
    # more of routing
    "cluster specifiers": Feature(ROUTE_ACTION, "inline_cluster_specifier_plugin"),
    # HTTP filters
    "cache": Feature(f"{HTTP_FILTERS}.cache.v3.CacheConfig"),
    # tracing, discovery, load reports
    "load reports": Feature("envoy.config.bootstrap.v3.ClusterManager", "load_stats_config"),
    # other protocols
    "Redis": Feature("envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"),
}

EXPECTED: dict[str, tuple[str, ...]] = {
    "brotli/envoy.yaml": (),
    "cache/envoy.yaml": ("cache",),
    "cors/backend/envoy.yaml": (),
    "cors/frontend/envoy.yaml": (),
    "csrf/crosssite/envoy.yaml": (),
    "csrf/samesite/envoy.yaml": (),
    "datadog-tracing/envoy.yaml": (),
    "double-proxy/envoy.yaml": (),
    "dynamic-config-cp/envoy.yaml": (),
    "ext_authz/config/grpc-service/v3.yaml": (),
    "ext_authz/config/http-service.yaml": (),
    "ext_authz/config/opa-service/v3.yaml": (),
    "front-proxy/envoy.yaml": (),
    "front-proxy/service-envoy-2.yaml": (),
    "front-proxy/service-envoy.yaml": (),
    "grpc-bridge/client/envoy-proxy.yaml": (),
    "grpc-bridge/server/envoy-proxy.yaml": (),
    "gzip/envoy.yaml": (),
    "jaeger-tracing/envoy.yaml": (),
    "jaeger-tracing/service1-envoy-jaeger.yaml": (),
    "jaeger-tracing/service2-envoy-jaeger.yaml": (),
    "load-reporting-service/envoy.yaml": ("load reports",),
    "local_ratelimit/envoy.yaml": (),
    "locality-load-balancing/envoy.yaml": (),
    "lua-cluster-specifier/envoy.yaml": ("cluster specifiers",),
    "opentelemetry/envoy-1.yaml": (),
    "opentelemetry/envoy-2.yaml": (),
    "opentelemetry/envoy-front-proxy.yaml": (),
    "rbac/envoy.yaml": (),
    "redis/envoy.yaml": ("Redis",),
    "route-mirror/envoy.yaml": (),
    "skywalking/envoy-1.yaml": (),
    "skywalking/envoy-2.yaml": (),
    "skywalking/envoy-front-proxy.yaml": (),
    "tls-inspector/envoy.yaml": (),
    "tls-sni/envoy-client.yaml": (),
    "tls/envoy-http-https.yaml": (),
    "tls/envoy-https-http.yaml": (),
    "tls/envoy-https-https.yaml": (),
    "tls/envoy-https-passthrough.yaml": (),
    "udp/envoy.yaml": (),
    "websocket/envoy-ws-route.yaml": (),
    "websocket/envoy-ws.yaml": (),
    "websocket/envoy-wss-passthrough.yaml": (),
    "websocket/envoy-wss.yaml": (),
    "zipkin/envoy-1.yaml": (),
    "zipkin/envoy-2.yaml": (),
    "zipkin/envoy-front-proxy.yaml": (),
    "zstd/envoy.yaml": (),
}
"""What each file needs that is not there yet; nothing for those that run."""

ACCEPTED = [name for name, features in EXPECTED.items() if not features]


def feature_of(item: Unsupported, loaded: LoadedConfig) -> str:
    """The name in `FEATURES` of what an entry of the list is about."""
    type_name = re.match(r"no extension of minienvoy takes ([\w.]+)", item.reason)
    if type_name:
        wanted = Feature(type_name[1])
    else:
        value = re.fullmatch(r"(\w+) is not supported, only .*", item.reason)
        message, field = owner_of(item.path, loaded.message)
        wanted = Feature(message, field, value[1] if value else "")
    return {feature: name for name, feature in FEATURES.items()}[wanted]


def owner_of(path: str, message) -> tuple[str, str]:
    """The full name of the message that has the field at the end of `path`, and that field."""
    from minienvoy.config.api import unpack

    *steps, field = re.findall(r'([\w]+)(?:\[(?:(\d+)|"([^"]*)")\])?', path)
    for name, index, key in steps:
        message = getattr(message, name)
        if index:
            message = message[int(index)]
        elif key:
            message = message[key]
        if message.DESCRIPTOR.full_name == "google.protobuf.Any":
            message = unpack(message)
    return message.DESCRIPTOR.full_name, field[0]


@pytest.fixture(scope="module", autouse=True)
def declarations() -> None:
    """Everything that is honoured is declared, whatever other tests imported."""
    import_everything()


def test_table_has_every_file():
    assert sorted(EXPECTED) == sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.yaml"))
    assert len(EXPECTED) == 49


@pytest.mark.parametrize("name", EXPECTED)
def test_file_is_refused_only_for_what_is_not_there_yet(name):
    loaded = load_bootstrap(EXAMPLES / name)
    found = unsupported(loaded.message)
    assert {feature_of(item, loaded) for item in found} == set(EXPECTED[name])


@pytest.mark.parametrize("name", EXPECTED)
def test_validating_agrees_and_tells_the_place_of_everything(name):
    options = Options(config_path=str(EXAMPLES / name))
    if not EXPECTED[name]:
        validate(options)
        return
    with pytest.raises(ConfigError) as refused:
        validate(options)
    loaded = load_bootstrap(EXAMPLES / name)
    first, *lines = str(refused.value).rstrip().split("\n")
    listed = [line for line in lines if line.startswith("  ")]
    assert re.fullmatch(r"(1 field is|\d+ fields are) set that minienvoy does not honour:", first)
    assert len(listed) == len(unsupported(loaded.message))
    text = (EXAMPLES / name).read_text().split("\n")
    for line in listed:
        place = re.match(rf"  {re.escape(str(EXAMPLES / name))}:(\d+):(\d+): ([^:]+): ", line)
        assert place is not None, line
        # The last name of the path stands at that line and column, or begins what does.
        at = text[int(place[1]) - 1][int(place[2]) - 1 :]
        assert at.strip(), line


def section(page: str, message: str) -> dict[str, str]:
    """Field -> status of one message of `docs/supported.md`; empty if it is not on the page."""
    _, found, rest = page.partition(f"\n## {message}\n")
    if not found:
        return {}
    return dict(re.findall(r"^\| (\w+) \| (.*) \|$", rest.partition("\n## ")[0], re.MULTILINE))


@pytest.mark.parametrize("name", FEATURES)
def test_what_files_are_refused_for_is_documented_as_missing(name, root):
    page = (root / "docs" / "supported.md").read_text()
    message, field, value = FEATURES[name]
    if not field:
        assert f"\n## {message}\n" not in page
    elif not value:
        assert section(page, message)[field] == "not yet"
    else:
        status = section(page, message)[field]
        assert status.startswith("partly: ")
        assert value not in status


def test_no_feature_is_in_the_table_for_nothing():
    assert {name for features in EXPECTED.values() for name in features} == set(FEATURES)


@pytest.mark.parametrize("name", ACCEPTED)
def test_envoy_takes_what_is_taken(name, envoy):
    path = str(EXAMPLES / name)
    answer = envoy("-c", path, "--mode", "validate", "--use-dynamic-base-id")
    assert (answer.returncode, answer.stdout) == (0, f"configuration '{path}' OK\n")


LESSONS = sorted(path.name for path in (EXAMPLES.parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("name", LESSONS)
def test_envoy_takes_every_lesson_as_we_do(name, root, envoy):
    path = str(root / "configs" / name)
    validate(Options(config_path=path))
    answer = envoy("-c", path, "--mode", "validate", "--use-dynamic-base-id")
    if "kubernetes" in name:
        # The type of cluster is minienvoy's own; there is nothing else that Envoy does not take.
        assert answer.stderr.rstrip().endswith("cluster factory implementation for type: 'xds.type.v3.TypedStruct'")
        return
    assert (answer.returncode, answer.stdout) == (0, f"configuration '{path}' OK\n")


# -- end to end


@pytest.mark.asyncio
async def test_csrf_crosssite_forwards_everything_and_logs_to_stdout(fetch, capfd):
    reply = Reply(b"<html>", headers=(("content-type", "text/html"), ("server", "gunicorn")))
    async with (
        FakeUpstream(reply, Reply(b"no", 403)) as service,
        Proxy.from_yaml(
            EXAMPLES / "csrf/crosssite/envoy.yaml", endpoints={"generic_service": [service.address]}
        ) as proxy,
    ):
        page = await fetch(f"{proxy.url()}/csrf?x=1", host="cross.test")
        posted = await fetch(
            f"{proxy.url()}/csrf/enabled", "POST", [("origin", "http://evil.test")], b"a=b", host="cross.test"
        )
        get, post = service.requests
        assert proxy.stats["http.ingress_http.downstream_rq_2xx"] == 1
        assert proxy.stats["http.ingress_http.downstream_rq_4xx"] == 1
        assert proxy.stats["cluster.generic_service.upstream_rq_total"] == 2
        assert str(proxy.explain.last()["route"].chose) == "prefix /"
    assert (page.status, page.body) == (200, b"<html>")
    assert [name for name, _ in page.headers] == [
        "content-type",
        "server",
        "content-length",
        "x-envoy-upstream-service-time",
        "date",
        "connection",
    ]
    assert page["server"] == "envoy"
    assert (posted.status, posted.body) == (403, b"no")
    assert (get.method, get.path, get["host"]) == ("GET", "/csrf?x=1", "cross.test")
    assert (post["origin"], post.body) == ("http://evil.test", b"a=b")
    assert get["x-envoy-expected-rq-timeout-ms"] == "15000"
    assert get["x-forwarded-proto"] == "http"
    assert get["x-request-id"] != post["x-request-id"]
    # The default format: ten quoted and bare fields after the time.
    first, second = capfd.readouterr().out.splitlines()
    line = r'\[[-\d]+T[:.\d]+Z\] "{} HTTP/1\.1" {} - {} \d+ \d+ "-" "-" "{}" "cross\.test" "{}"'
    assert re.fullmatch(line.format(r"GET /csrf\?x=1", 200, "0 6", get["x-request-id"], service.address), first)
    assert re.fullmatch(line.format("POST /csrf/enabled", 403, "3 2", post["x-request-id"], service.address), second)


@pytest.mark.asyncio
async def test_double_proxy_keeps_its_connection_to_the_application(fetch):
    async with (
        FakeUpstream("Connected to Postgres, version: 16") as app,
        Proxy.from_yaml(EXAMPLES / "double-proxy/envoy.yaml", endpoints={"service1": [app.address]}) as proxy,
    ):
        answers = [await fetch(f"{proxy.url()}/{number}") for number in range(3)]
        assert {(answer.status, answer.body) for answer in answers} == {(200, b"Connected to Postgres, version: 16")}
        assert [(request.path, request.connection) for request in app.requests] == [("/0", 1), ("/1", 1), ("/2", 1)]
        assert proxy.stats["cluster.service1.upstream_cx_total"] == 1


@pytest.mark.asyncio
async def test_double_proxy_says_so_when_the_application_is_away(fetch):
    app = FakeUpstream()
    await app.start()
    await app.stop()
    async with Proxy.from_yaml(EXAMPLES / "double-proxy/envoy.yaml", endpoints={"service1": [app.address]}) as proxy:
        answer = await fetch(proxy.url())
        assert answer.status == 503
        assert answer.body.startswith(b"upstream connect error or disconnect/reset before headers. reset reason: ")
        assert str(proxy.explain.last()["host"].chose) == app.address


@pytest.mark.asyncio
@pytest.mark.parametrize(("name", "number"), [("service-envoy", 1), ("service-envoy-2", 2)])
async def test_front_proxys_services_answer_below_their_prefix_only(fetch, name, number):
    async with (
        FakeUpstream(f"Hello from behind Envoy (service {number})!") as service,
        Proxy.from_yaml(
            EXAMPLES / f"front-proxy/{name}.yaml", endpoints={f"service{number}": [service.address]}
        ) as proxy,
    ):
        found = await fetch(f"{proxy.url()}/service/{number}")
        other = await fetch(f"{proxy.url()}/service/{3 - number}")
        assert (found.status, found.body) == (200, f"Hello from behind Envoy (service {number})!".encode())
        assert (other.status, other.body, other["server"]) == (404, b"", "envoy")
        assert [request.path for request in service.requests] == [f"/service/{number}"]
        ready = await fetch(f"{proxy.url('admin')}/ready")
        assert (ready.status, ready.body) == (200, b"LIVE\n")
        clusters = await fetch(f"{proxy.url('admin')}/clusters")
        assert f"service{number}::{service.address}::rq_success::1" in clusters.body.decode()
        stats = await fetch(f"{proxy.url('admin')}/stats?filter=no_route&usedonly")
        assert stats.body == f"http.service_envoy_{number}.no_route: 1\n".encode()


CLIENT_HELLO = bytes.fromhex("160301002c0100002803030000") + bytes(30) + b"\x02\x13\x01\x01\x00"
"""The beginning of a TLS handshake; a proxy that passes it through need not like it."""


@pytest.mark.asyncio
async def test_local_rate_limit_lets_two_requests_pass_and_two_more_when_the_bucket_is_full_again(fetch):
    async with (
        FakeUpstream("hello") as service,
        Proxy.from_yaml(
            EXAMPLES / "local_ratelimit/envoy.yaml", endpoints={"service": [service.address]}, time="simulated"
        ) as proxy,
    ):
        _, limited = proxy.server.listener_manager.listeners()
        url = f"http://127.0.0.1:{limited.local_addresses[0].port}"
        answers = [await fetch(url) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[2].body == b"local_rate_limited"
        assert answers[2]["x-local-rate-limit"] == "true"
        assert "x-local-rate-limit" not in answers[0]
        assert proxy.explain.last()["rate_limit"].because == "http_local_rate_limiter: 0 of 2 tokens left"
        await proxy.advance(5)
        answers = [await fetch(url) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert proxy.stats["http_local_rate_limiter.http_local_rate_limit.enforced"] == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "cluster", "prefix"),
    [
        ("tls/envoy-https-passthrough.yaml", "service-https", "https_passthrough"),
        ("websocket/envoy-wss-passthrough.yaml", "service_wss_passthrough", "wss_passthrough"),
    ],
)
async def test_passthrough_hands_on_every_byte_and_both_ends(name, cluster, prefix):
    async with (
        FakeTcpUpstream() as service,
        Proxy.from_yaml(EXAMPLES / name, endpoints={cluster: [service.address]}) as proxy,
        asyncio.timeout(10),
    ):
        reader, writer = await asyncio.open_connection(*proxy.address())
        writer.write(CLIENT_HELLO)
        assert await reader.readexactly(len(CLIENT_HELLO)) == CLIENT_HELLO
        writer.write(bytes(range(256)) * 1024)
        writer.write_eof()
        assert await reader.read() == bytes(range(256)) * 1024
        writer.close()
        await writer.wait_closed()
        (conversation,) = service.conversations
        assert conversation.ended
        size = len(CLIENT_HELLO) + 256 * 1024
        assert len(conversation.data) == size
        assert proxy.stats[f"tcp.{prefix}.downstream_cx_rx_bytes_total"] == size
        assert proxy.stats[f"tcp.{prefix}.downstream_cx_tx_bytes_total"] == size
        assert proxy.stats[f"cluster.{cluster}.upstream_cx_total"] == 1


@pytest.mark.asyncio
async def test_route_mirror_sends_a_copy_and_answers_with_the_original(fetch):
    async with (
        FakeUpstream("original 1") as one,
        FakeUpstream("copy 1") as one_mirror,
        FakeUpstream("original 2") as two,
        FakeUpstream("copy 2") as two_mirror,
        Proxy.from_yaml(
            EXAMPLES / "route-mirror/envoy.yaml",
            endpoints={
                "service1": [one.address],
                "service1-mirror": [one_mirror.address],
                "service2": [two.address],
                "service2-mirror": [two_mirror.address],
            },
        ) as proxy,
    ):
        first = await fetch(f"{proxy.url()}/service/1", host="front.test")
        chosen = await fetch(f"{proxy.url()}/service/2", headers=[("x-mirror-cluster", "service2-mirror")])
        plain = await fetch(f"{proxy.url()}/service/2")
        assert (first.body, chosen.body, plain.body) == (b"original 1", b"original 2", b"original 2")
        (copy,) = await one_mirror.wait_for_requests(1)
        assert (copy.path, copy["host"]) == ("/service/1", "front.test-shadow")
        (copy,) = await two_mirror.wait_for_requests(1)
        assert copy.path == "/service/2"
        assert [request.path for request in two.requests] == ["/service/2"] * 2
        assert proxy.stats["cluster.service2-mirror.upstream_rq_total"] == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "path"), [("websocket/envoy-ws.yaml", "/chat"), ("websocket/envoy-ws-route.yaml", "/ws")]
)
async def test_websocket_messages_go_both_ways_until_either_side_ends(name, path):
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    app = web.Application()
    app.router.add_get(path, echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        (host, port) = runner.addresses[0]
        async with (
            asyncio.timeout(10),
            Proxy.from_yaml(EXAMPLES / name, endpoints={"service_ws": [f"{host}:{port}"]}) as proxy,
            ClientSession() as session,
        ):
            async with session.ws_connect(f"{proxy.url()}{path}") as socket:
                for word in ("one", "two", "x" * 100_000):
                    await socket.send_str(word)
                    assert await socket.receive_str() == word.upper()
                assert proxy.stats["http.ingress_ws_to_ws.downstream_cx_upgrades_active"] == 1
            assert proxy.stats["http.ingress_ws_to_ws.downstream_cx_upgrades_total"] == 1
            assert proxy.stats["cluster.service_ws.upstream_rq_total"] == 1
    finally:
        await runner.cleanup()
