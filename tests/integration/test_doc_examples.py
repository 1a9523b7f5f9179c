"""The examples of the pages about embedding do what they say."""

from __future__ import annotations

import ast
import asyncio
import re
import textwrap
import warnings
from types import SimpleNamespace
from urllib.request import urlopen

import pytest

from minienvoy import Proxy, logger
from minienvoy.testing.fake_upstream import (
    BAD_CHUNK,
    REFUSE,
    RESET,
    FakeTcpUpstream,
    FakeUpstream,
    Reply,
    cut,
    delayed,
)

pytestmark = pytest.mark.asyncio


TLS = """
static_resources:
  listeners:
  - name: ingress
    stat_prefix: ingress
    address: {socket_address: {address: 127.0.0.1, port_value: 443}}
    filter_chains:
    - filter_chain_match: {server_names: [users.prod.test]}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - {name: server, sds_config: {path_config_source: {path: /etc/envoy/sds/server.yaml}}}
            validation_context:
              trusted_ca: {filename: /etc/envoy/ca.crt}
              match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: "spiffe://prod/"}}]
      filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: users
          cluster: users
    listener_filters:
    - name: envoy.filters.listener.tls_inspector
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector
  clusters:
  - name: users
    type: STRICT_DNS
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: users.prod.test
        common_tls_context:
          tls_certificates:
          - certificate_chain: {filename: /etc/envoy/client.crt}
            private_key: {filename: /etc/envoy/client.key}
          validation_context:
            trusted_ca: {filename: /etc/envoy/ca.crt}
            match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: users.prod.test}}]
"""


TRACED = """
static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 127.0.0.1, port_value: 80}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          tracing:
            spawn_upstream_span: true
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: {envoy_grpc: {cluster_name: collector}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, route: {cluster: users}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - {name: users, type: STRICT_DNS}
  - name: collector
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"""


def examples(root, page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (root / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)


async def execute(source: str, names: dict[str, object]) -> dict[str, object]:
    """Run statements, among which there may be `await`; the names there are then."""
    wrapped = f"async def example():\n{textwrap.indent(source, '    ')}\n    return locals()"
    tree = ast.parse(wrapped)
    # An assignment in a function makes a local of a name that is read before: give them as globals, take locals back.
    exec(compile(tree, "<example>", "exec"), names)
    async with asyncio.timeout(10):
        return await names["example"]()


@pytest.fixture
def names(fetch):
    """What the pages take for granted: imports, and a client."""
    return {
        "asyncio": asyncio,
        "Proxy": Proxy,
        "FakeUpstream": FakeUpstream,
        "BAD_CHUNK": BAD_CHUNK,
        "REFUSE": REFUSE,
        "RESET": RESET,
        "cut": cut,
        "delayed": delayed,
        "FakeTcpUpstream": FakeTcpUpstream,
        "Reply": Reply,
        "client": SimpleNamespace(get=fetch),
    }


@pytest.fixture
def project(root, tmp_path, monkeypatch):
    """A project with a configuration of its own, beside the lessons."""
    (tmp_path / "deploy").mkdir()
    text = (root / "configs" / "05_timeouts.yaml").read_text()
    (tmp_path / "deploy" / "envoy.yaml").write_text(
        re.sub(r"\bservice\b", "users", text).replace("name: http", "name: ingress")
    )
    (tmp_path / "deploy" / "tls.yaml").write_text(TLS)
    (tmp_path / "deploy" / "traced.yaml").write_text(TRACED)
    (tmp_path / "configs").symlink_to(root / "configs")
    monkeypatch.chdir(tmp_path)


def get(url):
    """As `requests.get`, as far as the page needs it."""
    with urlopen(url, timeout=10) as response:
        return SimpleNamespace(status_code=response.status, text=response.read().decode())


async def get_over_tls(url, ssl):
    """As the client of aiohttp, as far as the page needs it."""
    address = url.removeprefix("https://").rstrip("/").split(":")
    reader, writer = await asyncio.open_connection(*address, ssl=ssl, server_hostname="users.prod.test")
    writer.write(b"GET / HTTP/1.1\r\nhost: users.prod.test\r\nconnection: close\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(5)
    writer.close()
    return body.decode()


async def test_every_example_about_testing(root, project, names):
    first, quiet, upstreams, certificates, faults, threaded, plugin, simulated, spans = examples(root, "testing.md")
    after = await execute(first, names)
    assert after["response"].status == 503
    level = logger.get("router").level
    try:
        await execute(quiet, names)
        assert logger.get("router").level == logger.DEBUG
    finally:
        logger.set_level(level)
    async with FakeUpstream("one") as upstream:
        names["upstream"] = upstream
        for _ in range(2):
            await names["client"].get(f"http://{upstream.address}/", headers=[("X-Request-Id", "1")])
        await execute(upstreams, names)
    after = await execute(certificates, {**names, "client": SimpleNamespace(get=get_over_tls)})
    assert after["response"] == "hello"
    async with (
        FakeUpstream("one") as users,
        Proxy.from_yaml("deploy/envoy.yaml", endpoints={"users": [users.address]}) as proxy,
    ):
        await execute(faults.replace("127.0.0.1:4711", users.address), {**names, "proxy": proxy})
        assert len(proxy.faults) == 0
    await asyncio.to_thread(asyncio.run, execute(threaded, {**names, "requests": SimpleNamespace(get=get)}))
    with warnings.catch_warnings():
        # The marker is known where the plugin is installed.
        warnings.simplefilter("ignore", pytest.PytestUnknownMarkWarning)
        tests = await execute(plugin, {**names, "pytest": pytest})
    assert {"test_users", "test_routes"} <= tests.keys()
    await execute(simulated, names)
    await execute(spans, names)


async def test_every_example_about_explanations(root, project, names):
    example, of_the_journal = examples(root, "explain.md")
    async with (
        FakeUpstream("one") as users,
        Proxy.from_yaml("deploy/envoy.yaml", endpoints={"users": [users.address]}) as proxy,
    ):
        await names["client"].get(proxy.url("ingress") + "/fast")
        names["proxy"] = proxy
        after = await execute(example, names)
        assert str(after["explanation"]["host"].chose) == users.address
        assert "entry" not in await execute(of_the_journal, names), "no host was ejected"


@pytest.mark.parametrize(("page", "count"), [("testing.md", 9), ("explain.md", 2)])
async def test_no_example_is_forgotten(root, page, count):
    assert len(examples(root, page)) == count
