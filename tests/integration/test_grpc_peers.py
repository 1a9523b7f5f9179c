"""grpcio on both sides, at the edges: what ends early, what is large or compressed, who keeps alive, who grows old."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from minienvoy import Proxy

# A real server and client of somebody else, which are no part of the core dependencies.
grpc = pytest.importorskip("grpc")
aio = pytest.importorskip("grpc.aio")

pytestmark = pytest.mark.asyncio

LIBRARY = Path(__file__).parents[1] / "conformance" / "descriptors" / "library.binpb"
TYPE = "type.googleapis.com/envoy.extensions.filters.http"
CONFIG = """
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          http2_protocol_options: {hcm_h2}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route:
                  cluster: service
                  timeout: 0s
                  max_stream_duration: {stream_limit}
                  retry_policy: {retry}
                request_headers_to_remove: {removed}
          http_filters:
          {filters}
          - name: envoy.filters.http.router
            typed_config: {{"@type": {type}.router.v3.Router}}
  clusters:
  - name: service
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {cluster_h2}}}
    load_assignment:
      cluster_name: service
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""
DEFAULTS = {
    "filters": "",
    "hcm_h2": "{}",
    "cluster_h2": "{}",
    "retry": "{}",
    "stream_limit": "{grpc_timeout_header_max: 0s}",
    "removed": "[]",
}
STATUSES = {status.value[0]: status for status in grpc.StatusCode}
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Service(grpc.GenericRpcHandler):
    """Methods of any service take and give bytes, and are told by their last part."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()
        self.metadata: dict[str, str | bytes] = {}
        self.left: float | None = None
        self.tries = 0

    def service(self, details):
        self.metadata = dict(details.invocation_metadata)
        handlers = {
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "Hang": grpc.unary_stream_rpc_method_handler(self.hang),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Flood": grpc.unary_stream_rpc_method_handler(self.flood),
            "Swallow": grpc.stream_unary_rpc_method_handler(self.swallow),
            "GetShelf": grpc.unary_unary_rpc_method_handler(self.get_shelf),
            "ListShelves": grpc.unary_stream_rpc_method_handler(self.list_shelves),
            "CreateBooks": grpc.stream_unary_rpc_method_handler(self.create_books),
        }
        return handlers.get(details.method.rpartition("/")[2])

    async def echo(self, request, context):
        self.left = context.time_remaining()
        context.set_trailing_metadata((("seen-bin", bytes(range(256))),))
        return request

    async def hang(self, request, context):
        yield b"first"
        self.started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def refuse(self, request, context):
        self.tries += 1
        await context.abort(STATUSES[int(request)], "never")

    async def flood(self, request, context):
        for _ in range(int(request)):
            yield bytes(100_000)

    async def swallow(self, requests, context):
        return b"%d" % sum([len(each) async for each in requests])

    async def get_shelf(self, request, context):
        if request == b"\x08\x07":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no shelf 7")
        return request + b"\x12\x05theme"

    async def list_shelves(self, request, context):
        for number in (1, 2, 3):
            yield b"\x08" + bytes((number,))

    async def create_books(self, requests, context):
        names = b"".join([each async for each in requests])
        return b"\x0a" + bytes((len(names),)) + names.hex().encode()[: len(names)]


@asynccontextmanager
async def served(service, *, options=(), compression=None, **settings):
    server = aio.server(options=[*UNLIMITED, *options], compression=compression)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        text = CONFIG.format(port=port, type=TYPE, **(DEFAULTS | settings))
        async with Proxy.from_yaml(text) as proxy:
            yield proxy
    finally:
        await server.stop(None)


def connect(proxy, **options):
    host, port = proxy.address("main")
    return aio.insecure_channel(f"{host}:{port}", options=[*UNLIMITED, *options.items()])


async def test_binary_metadata_passes_both_ways():
    service = Service()
    async with served(service) as proxy, connect(proxy) as channel:
        call = channel.unary_unary("/p.S/Echo")(b"hi", metadata=(("trace-bin", bytes(range(256))),))
        assert await call == b"hi"
        assert service.metadata["trace-bin"] == bytes(range(256))
        assert dict(await call.trailing_metadata())["seen-bin"] == bytes(range(256))


async def test_the_server_learns_how_long_its_client_waits():
    service = Service()
    async with served(service) as proxy, connect(proxy) as channel:
        assert await channel.unary_unary("/p.S/Echo")(b"hi", timeout=5) == b"hi"
        assert service.left is not None
        # gRPC rounds what is left up, to three digits, at each of the two senders.
    assert 3 < service.left < 5.1


async def test_a_stream_that_is_cancelled_is_cancelled_at_the_server():
    service = Service()
    async with served(service) as proxy, connect(proxy) as channel:
        call = channel.unary_stream("/p.S/Hang")(b"")
        assert await call.read() == b"first"
        call.cancel()
        await asyncio.wait_for(service.cancelled.wait(), 5)
        assert await channel.unary_unary("/p.S/Echo")(b"still here") == b"still here"


async def test_a_deadline_in_the_middle_of_a_stream():
    service = Service()
    # Only the client knows of it: who else does may be the first to end the stream.
    only_client = {"stream_limit": "{}", "removed": "[grpc-timeout]"}
    async with served(service, **only_client) as proxy, connect(proxy) as channel:
        call = channel.unary_stream("/p.S/Hang")(b"", timeout=0.5)
        assert await call.read() == b"first"
        with pytest.raises(aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(service.cancelled.wait(), 5)


async def test_a_client_that_goes_away_is_told_to_the_server():
    service = Service()
    async with served(service) as proxy:
        channel = connect(proxy)
        call = channel.unary_stream("/p.S/Hang")(b"")
        assert await call.read() == b"first"
        await channel.close()
        await asyncio.wait_for(service.cancelled.wait(), 5)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages_are_nobodys_business(compression):
    service = Service()
    async with served(service, compression=compression) as proxy, connect(proxy) as channel:
        message = b"x" * 50_000
        assert await channel.unary_unary("/p.S/Echo")(message, compression=compression) == message
        assert proxy.stats["http.ingress.downstream_cx_rx_bytes_total"] < 5_000


async def test_twenty_megabytes_in_one_message_and_in_many():
    service = Service()
    async with served(service) as proxy, connect(proxy) as channel:
        message = bytes(20 << 20)
        assert await channel.unary_unary("/p.S/Echo")(message) == message

        async def pieces():
            for _ in range(200):
                yield bytes(100_000)

        assert await channel.stream_unary("/p.S/Swallow")(pieces()) == b"20000000"
        assert sum([len(each) async for each in channel.unary_stream("/p.S/Flood")(b"200")]) == 20_000_000


async def test_statuses_that_are_tried_again_and_one_that_is_not():
    service = Service()
    retry = "{retry_on: 'unavailable,resource-exhausted', num_retries: 2}"
    async with served(service, retry=retry) as proxy, connect(proxy) as channel:
        for code, tries in ((14, 3), (8, 3), (5, 1)):
            service.tries = 0
            with pytest.raises(aio.AioRpcError) as caught:
                await channel.unary_unary("/p.S/Refuse")(b"%d" % code)
            assert caught.value.code().value[0] == code
            assert service.tries == tries


async def test_pings_of_a_client_that_keeps_alive():
    service = Service()
    async with served(service, hcm_h2="{connection_keepalive: {interval: 0.1s, timeout: 5s}}") as proxy:
        options = {
            "grpc.keepalive_time_ms": 100,
            "grpc.keepalive_permit_without_calls": 1,
            "grpc.http2.max_pings_without_data": 0,
        }
        async with connect(proxy, **options) as channel:
            assert await channel.unary_unary("/p.S/Echo")(b"one") == b"one"
            await asyncio.sleep(1)
            assert await channel.unary_unary("/p.S/Echo")(b"two") == b"two"
        assert proxy.stats["http.ingress.downstream_cx_total"] == 1
        assert proxy.stats.get("http.ingress.downstream_cx_protocol_error", 0) == 0


async def test_pings_to_an_upstream_keep_its_connection():
    service = Service()
    # grpcio ends connections whose pings come more often than it was told to expect.
    options = [("grpc.http2.min_ping_interval_without_data_ms", 10), ("grpc.http2.max_ping_strikes", 0)]
    keepalive = "{connection_keepalive: {interval: 0.1s, timeout: 5s}}"
    async with served(service, options=options, cluster_h2=keepalive) as proxy, connect(proxy) as channel:
        assert await channel.unary_unary("/p.S/Echo")(b"one") == b"one"
        await asyncio.sleep(0.6)
        assert await channel.unary_unary("/p.S/Echo")(b"two") == b"two"
        assert proxy.stats["cluster.service.upstream_cx_total"] == 1


async def test_a_server_whose_connections_grow_old_loses_no_call():
    """It sends GOAWAY in the middle of the traffic, and closes a little later."""
    service = Service()
    options = [("grpc.max_connection_age_ms", 200), ("grpc.max_connection_age_grace_ms", 5000)]
    async with served(service, options=options) as proxy, connect(proxy) as channel:
        echo = channel.unary_unary("/p.S/Echo")
        answered = 0

        async def talk(number):
            nonlocal answered
            end = asyncio.get_running_loop().time() + 1.5
            while asyncio.get_running_loop().time() < end:
                message = b"%d" % number
                assert await echo(message) == message
                answered += 1

        await asyncio.gather(*(talk(number) for number in range(8)))
        assert answered > 100
        assert proxy.stats["cluster.service.upstream_cx_total"] > 2
        assert proxy.stats["cluster.service.upstream_cx_close_notify"] > 1


# -- clients that are no gRPC clients

TRANSCODER = f"""
          - name: envoy.filters.http.grpc_json_transcoder
            typed_config:
              "@type": {TYPE}.grpc_json_transcoder.v3.GrpcJsonTranscoder
              proto_descriptor: {LIBRARY}
              services: [library.Library]
              convert_grpc_status: true
"""


async def test_rest_clients_of_a_grpc_server():
    async with served(Service(), filters=TRANSCODER.lstrip("\n ")) as proxy:  # noqa: SIM117
        async with aiohttp.ClientSession(proxy.url()) as session:
            async with session.get("/shelves/5") as response:
                assert response.status == 200
                assert await response.json() == {"id": "5", "theme": "theme"}
            async with session.get("/shelves/7") as response:
                assert response.status == 404
                assert await response.json() == {"code": 5, "message": "no shelf 7"}
            async with session.get("/shelves/x") as response:
                assert response.status == 400
            async with session.get("/shelves") as response:
                assert json.loads(await response.text()) == [{"id": "1"}, {"id": "2"}, {"id": "3"}]

            async def body():
                for piece in (b'[{"na', b'me":"a"},', b'{"name":"b"}', b"]"):
                    yield piece
                    await asyncio.sleep(0.01)

            async with session.post("/shelves/5/books", data=body()) as response:
                assert response.status == 200
                assert "name" in await response.json()


WEB = f"""
          - name: envoy.filters.http.grpc_web
            typed_config: {{"@type": {TYPE}.grpc_web.v3.GrpcWeb}}
"""


@pytest.mark.parametrize("text", [False, True])
async def test_grpc_web_clients_of_a_grpc_server(text):
    async with served(Service(), filters=WEB.lstrip("\n ")) as proxy:
        kind = "application/grpc-web-text" if text else "application/grpc-web"
        frame = b"\0\0\0\0\2hi"
        headers = {"content-type": kind, "accept": kind, "x-grpc-web": "1"}
        data = base64.b64encode(frame) if text else frame
        async with (
            aiohttp.ClientSession(proxy.url()) as session,
            session.post("/p.S/Echo", data=data, headers=headers) as response,
        ):
            assert response.status == 200
            assert response.headers["content-type"] == f"{kind}+proto"
            body = await response.read()
        if text:
            body = b"".join(base64.b64decode(part + b"=" * (-len(part) % 4)) for part in body.split(b"=") if part)
        assert body.startswith(frame)
        assert b"grpc-status:0\r\n" in body[7:]
