"""`minienvoy.Proxy`: an Envoy inside the process of a test."""

from __future__ import annotations

import asyncio
import copy
import gc
import re
import socket
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import yaml

from minienvoy import ConfigError, Proxy
from minienvoy.errors import UsageError
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream, Reply
from tests.bootstraps import http_listener, tcp_listener

ROUTES = """[
              {match: {path: /hello}, direct_response: {status: 200, body: {inline_string: hello}}},
              {match: {prefix: /users}, route: {cluster: users, timeout: 2s}},
            ]"""
CONFIG = (
    "admin:\n  address: {socket_address: {address: 127.0.0.1, port_value: 9901}}\nstatic_resources:\n  listeners:\n"
    + http_listener("http", ROUTES, 10000)
    + tcp_listener("tcp", "bytes", 10001)
    + """\
  clusters:
  - name: users
    connect_timeout: 1s
    type: STRICT_DNS
    load_assignment:
      cluster_name: users
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: users.test, port_value: 80}}}}]}]
  - name: bytes
    load_assignment:
      cluster_name: bytes
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]
"""
)


def descriptors() -> dict[str, str]:
    """Every open file descriptor of this process and what it is, but for one that libuv keeps in reserve."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            found[path.name] = str(path.readlink())
        except OSError:  # that of the listing itself
            continue
    return {name: what for name, what in found.items() if what != "/dev/null"}


async def get(proxy: Proxy, path: str, listener: str = "http") -> bytes:
    """The body of the answer; nothing is waited for after that."""
    reader, writer = await asyncio.open_connection(*proxy.address(listener))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        return await reader.readexactly(int(length[1])) if length else b""
    finally:
        writer.close()
        await writer.wait_closed()


# -- what is served


def test_a_file_of_production_serves_in_a_test(run, tmp_path):
    async def main():
        (tmp_path / "envoy.yaml").write_text(CONFIG)
        async with (
            FakeUpstream("from users") as users,
            FakeTcpUpstream() as tcp,
            Proxy.from_file(
                tmp_path / "envoy.yaml", endpoints={"users": [users.address], "bytes": [tcp.address]}
            ) as proxy,
        ):
            assert await get(proxy, "/users/1") == b"from users"
            assert await get(proxy, "/hello") == b"hello"
            await get(proxy, "/ready", "admin")
            assert proxy.stats["http.admin.downstream_rq_2xx"] == 1
            reader, writer = await asyncio.open_connection(*proxy.address("tcp"))
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
            writer.close()
            await writer.wait_closed()
            assert proxy.stats["cluster.users.upstream_rq_200"] == 1
            assert users.requests[0].path == "/users/1"
        assert proxy.stats["cluster.users.upstream_rq_200"] == 1, "statistics are there after the end"
        assert proxy.stats["tcp.tcp.downstream_cx_total"] == 1

    run(main)


def test_plain_values_are_a_configuration_too(run):
    values = yaml.safe_load(CONFIG)
    before = copy.deepcopy(values)

    async def main():
        async with Proxy.from_dict(values, endpoints={"users": [], "bytes": []}) as proxy:
            assert await get(proxy, "/hello") == b"hello"

    run(main)
    assert values == before


def test_several_run_side_by_side_in_one_loop(run):
    async def main():
        async with (
            FakeUpstream("one") as one,
            FakeUpstream("two") as two,
            Proxy.from_yaml(CONFIG, endpoints={"users": [one.address]}) as first,
            Proxy.from_yaml(CONFIG, endpoints={"users": [two.address]}, time="simulated") as second,
        ):
            assert first.address("http") != second.address("http")
            answers = await asyncio.gather(*(get(each, "/users") for each in (first, second, first)))
            assert answers == [b"one", b"two", b"one"]
            counted = [each.stats["cluster.users.upstream_rq_total"] for each in (first, second)]
            assert counted == [2, 1]
            assert [len(each.explain) for each in (first, second)] == [2, 1]

    run(main)


def test_ports_stay_as_configured_if_asked_for(run):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    values = yaml.safe_load(CONFIG)
    del values["admin"], values["static_resources"]["listeners"][1]
    values["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port

    async def main():
        async with Proxy.from_dict(values, ports="as_configured", endpoints={"users": []}) as proxy:
            assert proxy.address() == ("127.0.0.1", port)
            assert proxy.url() == f"http://127.0.0.1:{port}"

    run(main)


def test_endpoints_may_be_pairs_and_unix_sockets(run, tmp_path):
    async def main():
        path = str(tmp_path / "s")

        async def answer(reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nunix")
            await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(answer, path)
        async with server, FakeUpstream("pair") as upstream:
            host, _, port = upstream.address.rpartition(":")
            endpoints = {"users": [(host, int(port))], "bytes": path}
            async with Proxy.from_yaml(CONFIG, endpoints=endpoints) as proxy:
                assert await get(proxy, "/users") == b"pair"
                assert await get(proxy, "/", "tcp") == b"unix"
                assert proxy.stats["cluster.bytes.upstream_cx_total"] == 1

    run(main)


@pytest.mark.parametrize(("told", "talks"), [("", False), ("logger.set_level(logger.INFO)", True)])
def test_it_is_quiet_unless_told_otherwise(root, tmp_path, told, talks):
    """The log is the process's, so it takes a process to see."""
    (tmp_path / "envoy.yaml").write_text(CONFIG)
    program = f"""
import asyncio, sys
from minienvoy import Proxy, logger
{told}

async def main():
    async with Proxy.from_yaml(sys.argv[1], endpoints={{"users": []}}) as proxy:
        print(proxy.url("http"))

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path / "envoy.yaml")],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.startswith("http://127.0.0.1:")
    assert ("starting main dispatch loop" in done.stderr) is talks
    assert bool(done.stderr) is talks


# -- what goes wrong says what to do


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Proxy.from_yaml("nowhere/envoy.yaml"), ConfigError, "Invalid path: nowhere/envoy.yaml"),
        (lambda: Proxy.from_yaml("static_resources: {}"), ConfigError, "needs a line break"),
        (lambda: Proxy.from_yaml("static_resource: {}\n"), ConfigError, "did you mean 'static_resources'?"),
        (lambda: Proxy.from_yaml(CONFIG, endpoints={"user": []}), ConfigError, "it has: users, bytes"),
        (lambda: Proxy.from_yaml(CONFIG, endpoints={"users": ["localhost:80"]}), ConfigError, "no name is resolved"),
        (lambda: Proxy.from_yaml(CONFIG, endpoints={"users": ["127.0.0.1"]}), ConfigError, "give an IP address"),
        (lambda: Proxy.from_yaml(CONFIG, time="fake"), UsageError, 'give "real" or "simulated"'),
        (lambda: Proxy.from_yaml(CONFIG, port="ephemeral"), UsageError, "there are: ports, endpoints"),
        (lambda: Proxy.from_yaml(CONFIG).url(), UsageError, "was not started; use `async with`"),
        (lambda: Proxy.from_yaml(CONFIG).stats, UsageError, "was not started; use `async with`"),
    ],
)
def test_what_can_not_be_made_says_why(make, error, words):
    with pytest.raises(error) as raised:
        make()
    assert words in str(raised.value)


def test_what_can_not_be_asked_says_why(run):
    async def main():
        proxy = Proxy.from_yaml(CONFIG, endpoints={"users": []})
        assert repr(proxy) == "<Proxy <yaml>: not started>"
        async with proxy:
            with pytest.raises(UsageError, match=r"which listener\?; there are: http, tcp, admin"):
                proxy.address()
            with pytest.raises(UsageError, match="no listener 'https'; there are: http, tcp, admin"):
                proxy.url("https")
            with pytest.raises(UsageError, match='time="simulated"'):
                await proxy.advance(1)
            with pytest.raises(UsageError, match="make another one"):
                await proxy.start()
            with pytest.raises(KeyError, match=r"there are .*cluster\.users\.upstream_cx_total"):
                proxy.stats["cluster.users.upstream_cx_totals"]
            assert proxy.stats.get("cluster.users.upstream_rq_200", 0) == 0
            assert proxy.stats.get("cluster.users.upstream_rq_200") is None
            assert "server.live" in proxy.stats
            port = proxy.address("http")[1]
            assert repr(proxy).startswith(f"<Proxy <yaml>: http=127.0.0.1:{port}, tcp=127.0.0.1:")
        await proxy.stop()
        assert repr(proxy) == "<Proxy <yaml>: stopped>"
        with pytest.raises(UsageError, match="was stopped"):
            proxy.url("http")
        with pytest.raises(KeyError):
            proxy.stats["cluster.users.upstream_rq_200"]

    run(main)


def test_an_unsupported_field_is_refused_at_the_start_with_its_place(run, tmp_path):
    async def main():
        text = CONFIG.replace("{match: {path: /hello}", "{route_specifiers: [{name: x}], match: {path: /hello}")
        (tmp_path / "envoy.yaml").write_text(text)
        with pytest.raises(ConfigError, match="route_specifiers") as raised:
            await Proxy.from_yaml(tmp_path / "envoy.yaml", endpoints={"users": []}).start()
        line = 1 + text[: text.index("route_specifiers")].count("\n")
        assert f"{tmp_path}/envoy.yaml:{line}:" in str(raised.value)

    run(main)


def test_a_taken_address_is_told_and_nothing_is_left(run, tmp_path):
    values = yaml.safe_load(CONFIG)
    (manager,) = values["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    manager["typed_config"]["access_log"] = [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": str(tmp_path / "access.log"),
            },
        }
    ]

    async def main(port):
        values["static_resources"]["listeners"][1]["address"]["socket_address"]["port_value"] = port
        before = descriptors()
        with pytest.raises(ConfigError, match=f"cannot bind '127.0.0.1:{port}': Address already in use"):
            await Proxy.from_dict(values, ports="as_configured", endpoints={"users": []}).start()
        assert descriptors() == before

    with socket.create_server(("127.0.0.1", 0)) as taken:
        values["admin"]["address"]["socket_address"]["port_value"] = 0
        values["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = 0
        run(main, taken.getsockname()[1])


# -- the same seed, the same choices


async def choices(seed: int | None) -> list[str]:
    async with FakeUpstream() as one, FakeUpstream() as two, FakeUpstream() as three:
        upstreams = {each.address: name for name, each in (("one", one), ("two", two), ("three", three))}
        proxy = Proxy.from_yaml(CONFIG, endpoints={"users": list(upstreams)}, seed=seed)
        async with proxy:
            for _ in range(4):
                await get(proxy, "/users")
    made = [upstreams[str(each["host"].chose)] for each in proxy.explain]
    return made + [each.request_id for each in proxy.explain]


def test_a_seed_makes_every_choice_repeatable(run):
    async def main():
        first, again = await choices(7), await choices(7)
        assert first == again
        assert sorted(set(first[:4])) == ["one", "three", "two"], "round robin goes round"
        others = [await choices(seed) for seed in range(5)]
        assert len({tuple(each[:4]) for each in others}) > 1, "another seed starts elsewhere"
        unseeded = [await choices(None) for _ in range(2)]
        assert len({each[4] for each in [first, *others, *unseeded]}) == 8, "request ids differ"

    run(main)


# -- nothing is left


def test_fifty_proxies_leave_nothing_behind(run):
    async def one(before):
        async with (
            FakeUpstream("from users") as users,
            FakeTcpUpstream() as tcp,
            Proxy.from_yaml(CONFIG, endpoints={"users": [users.address], "bytes": [tcp.address]}) as proxy,
        ):
            assert await get(proxy, "/users") == b"from users"
            reader, writer = await asyncio.open_connection(*proxy.address("tcp"))
            writer.write(b"ping")
            await reader.readexactly(4)
            address = proxy.address("http")
            gone = weakref.ref(proxy.server)
            mine = set(asyncio.all_tasks())
        assert asyncio.all_tasks() <= mine
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        return gone

    async def main():
        await one({})  # what is opened once for the whole process is open now
        gc.collect()
        before = descriptors()
        tasks = asyncio.all_tasks()
        references = [await one(before) for _ in range(50)]
        assert descriptors() == before
        assert asyncio.all_tasks() == tasks
        await asyncio.sleep(0)  # the loop still holds the refused connection, whose traceback holds the last proxy
        gc.collect()
        assert [each for each in references if each() is not None] == []

    run(main)


@pytest.mark.parametrize("turns", range(8))
def test_it_can_be_stopped_at_any_moment(run, turns):
    """Clients connect and ask, and so many turns of the loop later it is over."""

    async def main():
        async with FakeUpstream(Reply(hang=True)) as users, FakeTcpUpstream() as tcp:
            before = descriptors()
            proxy = Proxy.from_yaml(CONFIG, endpoints={"users": [users.address], "bytes": [tcp.address]})
            await proxy.start()
            clients = []
            for listener in ("http", "http", "tcp", "tcp"):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(proxy.address(listener))
                clients.append(client)
            for _ in range(turns):
                await asyncio.sleep(0)
                for client in clients:
                    try:
                        client.send(b"GET /users HTTP/1.1\r\nhost: a\r\n\r\n")
                    except OSError:
                        continue
            await proxy.stop()
            for client in clients:
                client.close()
            await users.stop()
            await tcp.stop()
            assert len(descriptors()) <= len(before)

    run(main)


def test_it_can_be_stopped_while_it_connects(run):
    async def main():
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            before = descriptors()
            proxy = await Proxy.from_yaml(CONFIG, endpoints={"users": [full.getsockname()]}).start()
            asking = asyncio.ensure_future(get(proxy, "/users"))
            while not proxy.stats.get("cluster.users.upstream_cx_active", 0):  # noqa: ASYNC110
                await asyncio.sleep(0)
            await proxy.stop()
            with pytest.raises(asyncio.IncompleteReadError):
                await asking
            assert descriptors() == before
            for filler in fillers:
                filler.close()

    run(main)


def with_name_server(address: tuple[str, int]) -> dict:
    values = yaml.safe_load(CONFIG)
    where = {"socket_address": {"address": address[0], "port_value": address[1]}}
    values["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [where],
        },
    }
    return values


def test_it_can_be_stopped_while_a_name_is_resolved(run):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            before = descriptors()
            starting = asyncio.ensure_future(Proxy.from_dict(with_name_server(silent.getsockname())).start())
            await asyncio.sleep(0.02)
            assert not starting.done()
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            assert descriptors() == before

    run(main)


def test_an_error_of_the_test_stops_it_all_the_same(run):
    async def main():
        before = descriptors()
        with pytest.raises(ZeroDivisionError):
            async with Proxy.from_yaml(CONFIG, endpoints={"users": []}) as proxy:
                reader, writer = await asyncio.open_connection(*proxy.address("http"))
                raise ZeroDivisionError
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        assert descriptors() == before

    run(main)


def test_statistics_are_read_without_making_all_of_them(run):
    async def main():
        async with Proxy.from_yaml(CONFIG, endpoints={"users": []}) as proxy:
            store = proxy.server.stats
            every = {sample.name: sample.value for sample in (*store.counters(), *store.gauges())}
            one_by_one = {name: store.value(name) for name in every}
            assert one_by_one == every
            assert len(proxy.stats) == len(every)

    run(main)
