"""Two proxies, one behind the other, with faults on every hop: nothing is lost, nothing is left over.

Clients, both proxies and the upstream are in one event loop on loopback. What goes wrong is drawn from a seed: clients
that leave or dawdle, delays, aborts, slow responses and refusals by the filters of either proxy, an upstream that
answers badly, half or not at all. Afterwards every request is accounted for, at each hop by counters and by the access
log; and there is no connection, stream, timer or task left of it.

One run speaks HTTP/1 everywhere. In the other the proxies speak HTTP/2 within TLS to each other, half of the clients
speak HTTP/2, failed attempts are retried, and the network between the proxies turns bad now and then.

The short runs are eight seconds each, and judge no duration; `-m slow` runs for half a minute and for ten.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minienvoy import Proxy
from minienvoy.http.active_stream import ActiveStream
from minienvoy.network.connection import Connection
from minienvoy.server.memory import read_memory_stats
from minienvoy.testing import ca
from minienvoy.testing.fake_upstream import FakeUpstream, Reply, Request
from tests.integration.http2_client import RST_STREAM, Http2Client, frame

SEED = 20_261_128
RATE = 120
"""Requests a second."""
WORKERS = 24
PATIENCE = 20.0
TYPE = "type.googleapis.com/envoy.extensions."
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"
GROWTH = 8 * 1024 * 1024
"""Bytes by which a process may grow after the first fifth of a long run: what the allocator keeps, not a leak."""
AT_LAST = 1024 * 1024
"""Bytes by which it may still grow in the last fifth."""


def http_filter(name: str, message: str, **config: Any) -> dict[str, Any]:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{TYPE}filters.http.{name}.v3.{message}", **config},
    }


def share(percent: int) -> dict[str, Any]:
    return {"numerator": percent}


def proxy_config(name: str, log: Path, upstream_port: int, *filters: dict[str, Any]) -> dict[str, Any]:
    manager = {
        "@type": f"{TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "access_log": [
            {
                "name": "log",
                "typed_config": {
                    "@type": f"{TYPE}access_loggers.file.v3.FileAccessLog",
                    "path": str(log),
                    "log_format": {"text_format_source": {"inline_string": LOG + "\n"}},
                },
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "2s"}}],
                }
            ]
        },
        "http_filters": [*filters, http_filter("router", "Router")],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream_port}}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": name,
                    "address": address,
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "next",
                    "type": "STATIC",
                    "connect_timeout": "2s",
                    "load_assignment": {
                        "cluster_name": "next",
                        "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                    },
                }
            ],
        }
    }


EDGE_FILTERS = (
    http_filter(
        "local_ratelimit",
        "LocalRateLimit",
        stat_prefix="edge",
        token_bucket={"max_tokens": 100_000_000, "fill_interval": "1s"},
        filter_enabled={"default_value": share(100)},
        filter_enforced={"default_value": share(100)},
        descriptors=[
            {
                "entries": [{"key": "header_match", "value": "eager"}],
                "token_bucket": {"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "1s"},
            }
        ],
        rate_limits=[
            {
                "actions": [
                    {
                        "header_value_match": {
                            "descriptor_value": "eager",
                            "headers": [{"name": "x-eager", "present_match": True}],
                        }
                    }
                ]
            }
        ],
    ),
    http_filter(
        "fault",
        "HTTPFault",
        delay={"fixed_delay": "0.03s", "percentage": share(8)},
        abort={"http_status": 503, "percentage": share(4)},
        response_rate_limit={"fixed_limit": {"limit_kbps": 64}, "percentage": share(8)},
    ),
    http_filter("buffer", "Buffer", max_request_bytes=20_000),
)
INNER_FILTERS = (
    http_filter(
        "fault",
        "HTTPFault",
        delay={"fixed_delay": "0.02s", "percentage": share(6)},
        abort={"http_status": 500, "percentage": share(4)},
    ),
    http_filter(
        "bandwidth_limit",
        "BandwidthLimit",
        stat_prefix="inner",
        limit_kbps=100_000,
        enable_mode="REQUEST_AND_RESPONSE",
    ),
)


class Misbehaviour:
    """What the upstream does to the requests it gets."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.done: Counter[str] = Counter()

    def __call__(self, request: Request) -> Reply:
        kinds = ("fine", "large", "chunked", "error", "nothing", "half", "garbage", "hang", "last")
        (kind,) = self._draw.choices(kinds, (60, 8, 8, 6, 4, 4, 3, 1, 6))
        self.done[kind] += 1
        body = b"x" * self._draw.randrange(2000)
        if kind == "large":
            return Reply(b"y" * self._draw.randrange(100_000, 200_000))
        if kind == "chunked":
            chunk = b"%x\r\n%b\r\n" % (len(body) + 1, body + b"z")
            return Reply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 3 + b"0\r\n\r\n")
        if kind == "error":
            return Reply(body, self._draw.choice((404, 500, 503)))
        if kind == "nothing":
            return Reply(raw=b"", close=True)
        if kind == "half":
            return Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 2000, close=True)
        if kind == "garbage":
            return Reply(raw=b"SMTP/1.1 hello\r\n\r\n", close=True)
        if kind == "hang":
            return Reply(hang=True)
        return Reply(body, close=kind == "last")


class Worker:
    """One client after the other: each request is answered, cut short or given up."""

    def __init__(self, port: int, draw: random.Random, outcome: Counter[str]) -> None:
        self._port = port
        self._draw = draw
        self._outcome = outcome
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def one(self) -> None:
        reader, writer = await self._connection()
        kinds = ("get", "head", "post", "dawdle", "too large", "leave", "leave in the body", "eager")
        (kind,) = self._draw.choices(kinds, (50, 6, 20, 5, 2, 6, 3, 8))
        self._outcome["sent"] += 1
        length = self._draw.randrange(1, 12_000)
        if kind == "too large":
            length = 30_000
        head = b"host: a.test\r\n" + (b"x-eager: yes\r\n" if kind == "eager" else b"")
        try:
            if kind in ("post", "dawdle", "too large", "leave in the body"):
                writer.write(b"POST /p HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n" % (head, length))
                first = length // 2
                writer.write(b"p" * first)
                if kind != "post":
                    await writer.drain()
                    await asyncio.sleep(self._draw.random() * 0.05)
                if kind == "leave in the body":
                    await self._leave()
                    return
                writer.write(b"p" * (length - first))
            else:
                writer.write(b"%b /g HTTP/1.1\r\n%b\r\n" % (b"HEAD" if kind == "head" else b"GET", head))
            if kind == "leave":
                await writer.drain()
                await asyncio.sleep(self._draw.random() * 0.05)
                await self._leave()
                return
            async with asyncio.timeout(PATIENCE):
                keep = await self._response(reader, kind == "head")
        except (ConnectionError, asyncio.IncompleteReadError):
            self._outcome["cut short"] += 1
            await self.close()
            return
        self._outcome["answered"] += 1
        if not keep:
            await self.close()

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            try:
                await streams[1].wait_closed()
            except ConnectionError:
                pass  # the proxy was faster

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            await self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams

    async def _leave(self) -> None:
        self._outcome["given up"] += 1
        await self.close()

    async def _response(self, reader: asyncio.StreamReader, to_head: bool) -> bool:
        """Read one; whether another may follow on the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not to_head:
            if b"transfer-encoding: chunked" in head:
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    await reader.readexactly(size + 2)
                await reader.readexactly(2)
            else:
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        return b"connection: close" not in head


class Http2Worker(Worker):
    """The same over HTTP/2: who gives a request up resets its stream, and goes on with the next one."""

    _client: Http2Client | None = None

    async def one(self) -> None:
        if self._client is None:
            self._client = await Http2Client.connect("127.0.0.1", self._port, 1 << 20)
        client = self._client
        (kind,) = self._draw.choices(("get", "post", "leave", "too large", "eager"), (60, 25, 8, 2, 5))
        self._outcome["sent"] += 1
        stream = client.next_stream
        more = (("x-eager", "yes"),) if kind == "eager" else ()
        try:
            if kind in ("post", "too large"):
                client.writer.write(client.headers("POST", "/p", *more, end=False))
                size = 30_000 if kind == "too large" else self._draw.randrange(1, 12_000)
                sending = asyncio.ensure_future(client.send_body(stream, size))
                try:
                    async with asyncio.timeout(PATIENCE):
                        await client.response(stream)
                finally:
                    sending.cancel()
                    await asyncio.wait([sending])
                if not sending.cancelled() and sending.exception() is not None:
                    raise ConnectionError
            else:
                client.writer.write(client.headers("GET", "/g", *more))
                if kind == "leave":
                    await asyncio.sleep(self._draw.random() * 0.05)
                    client.writer.write(frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big")))
                    self._outcome["given up"] += 1
                    return
                async with asyncio.timeout(PATIENCE):
                    await client.response(stream)
        except (ConnectionError, asyncio.IncompleteReadError):
            self._outcome["cut short"] += 1
            await self.close()
            return
        self._outcome["answered"] += 1
        if kind == "too large":
            await self.close()  # what it has not sent would be owed to the window

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def over_http2(inner: dict[str, Any], edge: dict[str, Any], directory: Path) -> None:
    """Have the edge speak HTTP/2 within TLS to the inner proxy, and try again what fails."""
    certificate, key = ca().issue("a.test").write(directory)
    files = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
    tls = f"{TYPE}transport_sockets.tls.v3."
    (chain,) = inner["static_resources"]["listeners"][0]["filter_chains"]
    common = {"tls_certificates": [files], "alpn_protocols": ["h2"]}
    chain["transport_socket"] = {
        "name": "tls",
        "typed_config": {"@type": f"{tls}DownstreamTlsContext", "common_tls_context": common},
    }
    (cluster,) = edge["static_resources"]["clusters"]
    cluster["transport_socket"] = {"name": "tls", "typed_config": {"@type": f"{tls}UpstreamTlsContext"}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    explicit = {"explicit_http_config": {"http2_protocol_options": {}}}
    cluster["typed_extension_protocol_options"] = {options: {"@type": f"type.googleapis.com/{options}", **explicit}}
    (host,) = edge["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"][
        "route_config"
    ]["virtual_hosts"]
    host["routes"][0]["route"]["retry_policy"] = {"retry_on": "reset,connect-failure,gateway-error", "num_retries": 2}


class Soak:
    """A run, and what must be true after it."""

    def __init__(self, directory: Path, http2: bool = False) -> None:
        self.directory = directory
        self.http2 = http2
        self.outcome: Counter[str] = Counter()
        self.misbehaviour = Misbehaviour(random.Random(f"{SEED}/upstream"))
        self.memory: list[int] = []

    async def run(self, requests: int) -> None:
        tasks_before = len(asyncio.all_tasks())
        upstream = FakeUpstream(respond=self.misbehaviour)
        async with upstream:
            inner_config = self._config("inner", int(upstream.address.rpartition(":")[2]), INNER_FILTERS)
            edge_config = self._config("edge", 0, EDGE_FILTERS)
            if self.http2:
                over_http2(inner_config, edge_config, self.directory)
            inner = Proxy.from_dict(inner_config, seed=SEED)
            async with inner:
                edge = Proxy.from_dict(edge_config, seed=SEED, endpoints={"next": [inner.address("inner")]})
                async with edge:
                    weather = asyncio.ensure_future(self._weather(edge))
                    await self._drive(edge.address("edge")[1], requests, upstream)
                    weather.cancel()
                    edge.faults.clear()
                    await settled(lambda: not self._busy(edge, inner))
                    self._check_counters(edge, inner)
        self._check_logs(edge, inner)
        await settled(lambda: len(asyncio.all_tasks()) <= tasks_before)
        gc.collect()
        left = [each for each in gc.get_objects() if isinstance(each, (ActiveStream, Connection))]
        assert left == []

    async def _weather(self, edge: Proxy) -> None:
        """The network between the proxies turns bad now and then."""
        draw = random.Random(f"{SEED}/weather")
        kinds: tuple[tuple[str, dict[str, int]], ...] = (
            ("latency", {"latency": 20, "jitter": 10}),
            ("slicer", {"average_size": 900, "size_variation": 400, "delay": 10}),
            ("bandwidth", {"rate": 20_000}),
            ("limit_data", {"bytes": 200_000}),
            ("reset_peer", {"timeout": 100}),
        )
        while self.http2:
            await asyncio.sleep(0.4)
            kind, attributes = draw.choice(kinds)
            name = edge.faults.add("next", kind, toxicity=0.7, **attributes)
            self.outcome[f"weather: {kind}"] += 1
            await asyncio.sleep(0.2)
            edge.faults.remove("next", name)

    def _config(self, name: str, port: int, filters: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        return proxy_config(name, self.directory / f"{name}.log", port, *filters)

    async def _drive(self, port: int, requests: int, upstream: FakeUpstream) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()

        async def work(number: int) -> None:
            kind = Http2Worker if self.http2 and number % 2 else Worker
            worker = kind(port, random.Random(f"{SEED}/client {number}"), self.outcome)
            for at in range(number, requests, WORKERS):
                # A fixed rate: who is late does not make the others late.
                await asyncio.sleep(max(0.0, start + at / RATE - loop.time()))
                await worker.one()
                if at % 1000 < WORKERS:
                    upstream.requests.clear()
                    self.memory.append(read_memory_stats().physical)
            await worker.close()

        await asyncio.gather(*map(work, range(WORKERS)))

    def _busy(self, *proxies: Proxy) -> list[str]:
        """Gauges of what goes on that are not at rest."""
        busy = []
        for proxy in proxies:
            for name in ("edge", "inner"):
                busy += [
                    f"{name} {gauge}"
                    for gauge in ("downstream_rq_active", "fault.active_faults")
                    if proxy.stats.get(f"http.{name}.{gauge}", 0)
                ]
            busy += [
                gauge for gauge in ("rq_active", "rq_pending_active") if proxy.stats[f"cluster.next.upstream_{gauge}"]
            ]
        if proxies[0].stats["http.edge.downstream_cx_active"]:
            busy.append("edge downstream_cx_active")
        return busy

    def _check_counters(self, edge: Proxy, inner: Proxy) -> None:
        outcome = self.outcome
        assert outcome["sent"] == outcome["answered"] + outcome["cut short"] + outcome["given up"]
        for proxy, name in ((edge, "edge"), (inner, "inner")):
            http = f"http.{name}."
            stats = proxy.stats
            classes = sum(stats.get(f"{http}downstream_rq_{each}xx", 0) for each in range(1, 6))
            assert stats[f"{http}downstream_rq_completed"] == classes
            assert stats[f"{http}downstream_cx_total"] == (
                stats[f"{http}downstream_cx_destroy"] + stats[f"{http}downstream_cx_active"]
            )
            cluster = "cluster.next."
            assert stats[f"{cluster}upstream_cx_total"] == (
                stats[f"{cluster}upstream_cx_destroy"] + stats[f"{cluster}upstream_cx_active"]
            )
        assert edge.stats["http.edge.downstream_rq_total"] == outcome["sent"]
        # A request is lost between the proxies only with the client that gave it up.
        passed = edge.stats["cluster.next.upstream_rq_total"]
        arrived = inner.stats["http.inner.downstream_rq_total"]
        assert passed - outcome["given up"] <= arrived <= passed
        assert sum(self.misbehaviour.done.values()) <= inner.stats["cluster.next.upstream_rq_total"]

    def _check_logs(self, edge: Proxy, inner: Proxy) -> None:
        for proxy, name in ((edge, "edge"), (inner, "inner")):
            stats, http = proxy.stats, f"http.{name}."
            lines = [line.split(" ") for line in (self.directory / f"{name}.log").read_text().splitlines()]
            flags = Counter(flag for line in lines for flag in line[1].split(","))
            details = Counter(line[2].partition("{")[0] for line in lines)
            # One line for each request, and each line says who answered: the upstream, or the proxy for which reason.
            assert len(lines) == stats[f"{http}downstream_rq_total"]
            assert set(details) <= KNOWN_DETAILS, details
            # Whose client leaves while the answer is held back says that instead of who answered.
            assert details["fault_filter_abort"] <= flags["FI"] == stats[f"{http}fault.aborts_injected"]
            assert flags["DI"] == stats[f"{http}fault.delays_injected"]
            attempts = sum(int(line[3]) for line in lines)
            cluster = "cluster.next.upstream_rq_"
            begun = stats[cluster + "total"] + stats[cluster + "cancelled"]
            ejected = stats[cluster + "pending_failure_eject"]
            if self.http2 and name == "edge":
                # As in Envoy, what a connection of HTTP/2 takes with it counts as ejected, and has begun before.
                assert begun <= attempts <= begun + ejected
            else:
                assert attempts == begun + ejected
            if name == "edge":
                assert flags["RL"] == stats["edge.http_local_rate_limit.enforced"]
                assert details["request_payload_too_large"] <= stats[f"{http}downstream_rq_too_large"]
            answered = sum(line[0] != "0" for line in lines)
            assert answered == stats[f"{http}downstream_rq_completed"]


KNOWN_DETAILS = {
    "via_upstream",
    "fault_filter_abort",
    "local_rate_limited",
    "request_payload_too_large",
    "response_timeout",
    "upstream_reset_before_response_started",
    "upstream_reset_after_response_started",
    "downstream_remote_disconnect",
    "http2.remote_reset",
}


async def settled(test: Callable[[], object]) -> None:
    """Wait until something has come to rest; it fails if it never does."""
    for _ in range(500):
        if test():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not come to rest")


SHORT = [8, pytest.param(30, marks=pytest.mark.slow)]


@pytest.mark.parametrize("seconds", SHORT)
def test_a_short_run_loses_nothing_and_leaves_nothing(tmp_path: Path, seconds: int) -> None:
    soak = Soak(tmp_path)
    asyncio.run(soak.run(requests=seconds * RATE))
    # Everything that can go wrong has.
    assert all(soak.outcome[each] for each in ("answered", "cut short", "given up")), soak.outcome
    assert len(soak.misbehaviour.done) == 9


@pytest.mark.parametrize("seconds", SHORT)
def test_a_short_run_over_http2_and_tls_loses_nothing_and_leaves_nothing(tmp_path: Path, seconds: int) -> None:
    soak = Soak(tmp_path, http2=True)
    asyncio.run(soak.run(requests=seconds * RATE))
    assert all(soak.outcome[each] for each in ("answered", "given up")), soak.outcome
    assert sum(count for name, count in soak.outcome.items() if name.startswith("weather")) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2 within tls"])
def test_ten_minutes_lose_nothing_leave_nothing_and_do_not_grow(tmp_path: Path, http2: bool) -> None:
    soak = Soak(tmp_path, http2)
    asyncio.run(soak.run(requests=600 * RATE))
    fifth = len(soak.memory) // 5
    most = [max(soak.memory[at * fifth : (at + 1) * fifth]) for at in range(5)]
    assert most[4] - most[0] < GROWTH
    assert most[4] - most[3] < AT_LAST
