"""A real grpcio client and server with minienvoy between them."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from minienvoy import Proxy

# A real server and client of somebody else, which are no part of the core dependencies.
grpc = pytest.importorskip("grpc")
aio = pytest.importorskip("grpc.aio")

pytestmark = pytest.mark.asyncio

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
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /test.Echo/Nowhere}}
                route: {{cluster: missing}}
              - match: {{prefix: /test.Echo/Flaky}}
                route: {{cluster: service, retry_policy: {{retry_on: unavailable, num_retries: 3}}}}
              - match: {{prefix: /}}
                route: {{cluster: service, timeout: 0s, max_stream_duration: {{grpc_timeout_header_max: 0s}}}}
            validate_clusters: false
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: service
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: service
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


class Echo(grpc.GenericRpcHandler):
    """Methods take and give bytes."""

    def __init__(self) -> None:
        self.failures = 0

    def service(self, details):
        handlers = {
            "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/test.Echo/Flaky": grpc.unary_unary_rpc_method_handler(self.flaky),
            "/test.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/test.Echo/Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "/test.Echo/Collect": grpc.stream_unary_rpc_method_handler(self.collect),
            "/test.Echo/Count": grpc.unary_stream_rpc_method_handler(self.count),
            "/test.Echo/Talk": grpc.stream_stream_rpc_method_handler(self.talk),
        }
        return handlers.get(details.method)

    async def unary(self, request, context):
        context.set_trailing_metadata((("seen-user", dict(context.invocation_metadata())["user"]),))
        return request

    async def flaky(self, request, context):
        self.failures += 1
        if self.failures < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return request

    async def fail(self, request, context):
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no, 100% ü")

    async def slow(self, request, context):
        await asyncio.sleep(20)
        return request

    async def collect(self, requests, context):
        return b",".join([each async for each in requests])

    async def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    async def talk(self, requests, context):
        async for each in requests:
            yield each.upper()


@pytest_asyncio.fixture
async def channel():
    server = aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Proxy.from_yaml(CONFIG.format(port=port)) as proxy:
            host, bound = proxy.address("main")
            async with aio.insecure_channel(f"{host}:{bound}") as made:
                yield made
    finally:
        await server.stop(None)


async def test_unary_calls_and_metadata(channel):
    call = channel.unary_unary("/test.Echo/Unary")(b"hello", metadata=(("user", "joe"),))
    assert await call == b"hello"
    assert ("seen-user", "joe") in list(await call.trailing_metadata())
    answers = await asyncio.gather(
        *(channel.unary_unary("/test.Echo/Unary")(b"%d" % n, metadata=(("user", "joe"),)) for n in range(200))
    )
    assert answers == [b"%d" % n for n in range(200)]


async def test_a_large_message_both_ways(channel):
    message = b"x" * 3_000_000
    assert await channel.unary_unary("/test.Echo/Unary")(message, metadata=(("user", "a"),)) == message


async def test_client_streaming(channel):
    async def messages():
        for each in (b"a", b"b", b"c"):
            yield each

    assert await channel.stream_unary("/test.Echo/Collect")(messages()) == b"a,b,c"


async def test_server_streaming(channel):
    got = [each async for each in channel.unary_stream("/test.Echo/Count")(b"500")]
    assert got == [b"%d" % n for n in range(500)]


async def test_bidirectional_streaming_message_by_message(channel):
    call = channel.stream_stream("/test.Echo/Talk")()
    for each in (b"one", b"two", b"three"):
        await call.write(each)
        assert await call.read() == each.upper()
    await call.done_writing()
    assert await call.read() is aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_an_error_of_the_service_reaches_the_client_in_its_words(channel):
    with pytest.raises(aio.AioRpcError) as caught:
        await channel.unary_unary("/test.Echo/Fail")(b"")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "no, 100% ü"


async def test_a_method_that_is_not_there(channel):
    with pytest.raises(aio.AioRpcError) as caught:
        await channel.unary_unary("/test.Echo/Unheard")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_what_the_proxy_says_is_a_grpc_status(channel):
    with pytest.raises(aio.AioRpcError) as caught:
        await channel.unary_unary("/test.Echo/Nowhere")(b"")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_that_takes_too_long(channel):
    with pytest.raises(aio.AioRpcError) as caught:
        await channel.unary_unary("/test.Echo/Slow")(b"", timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_that_is_given_up(channel):
    call = channel.unary_unary("/test.Echo/Slow")(b"")
    await asyncio.sleep(0.1)
    assert call.cancel()
    assert await channel.stream_unary("/test.Echo/Collect")(iter([b"still", b"there"])) == b"still,there"


async def test_unavailable_is_tried_again(channel):
    assert await channel.unary_unary("/test.Echo/Flaky")(b"hello") == b"hello"
