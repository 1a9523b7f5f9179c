"""Every lesson of `configs/` does what its head comment says."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from minienvoy import Proxy
from minienvoy.discovery.xds_server.server import XdsServer
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream, Reply

pytestmark = pytest.mark.asyncio

OWN_CLUSTER = "minienvoy.clusters.Kubernetes"
ENVOY_HAS_NO_SUCH_CLUSTER = (
    "Didn't find a registered cluster factory implementation for type: 'xds.type.v3.TypedStruct'"
)


@pytest.fixture
def lesson(root):
    """The path of the lesson with this number, as text."""

    def find(number: int) -> str:
        (path,) = (root / "configs").glob(f"{number:02d}_*.yaml")
        return str(path)

    return find


@pytest.fixture
def read_lesson(lesson):
    """The text of the lesson with this number."""
    return lambda number: Path(lesson(number)).read_text()


async def converse(address: tuple[str, int], *said: bytes, source: str = "127.0.0.1") -> bytes:
    """Connect, say it, end with a FIN; all that was answered until the other side ended too."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0))
        try:
            for data in said:
                writer.write(data)
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


async def test_01_what_is_said_comes_back(lesson):
    async with Proxy.from_yaml(lesson(1)) as proxy, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*proxy.address("echo"))
        for said in (b"hello\n", b"again\n"):
            writer.write(said)
            assert await reader.readexactly(6) == said
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_02_bytes_pass_both_ways_and_so_do_fins(lesson):
    async with (
        FakeTcpUpstream(greeting=b"220 ready\r\n") as service,
        Proxy.from_yaml(lesson(2), endpoints={"service": [service.address]}) as proxy,
    ):
        assert await converse(proxy.address("tcp"), b"ping\r\n") == b"220 ready\r\nping\r\n"
        (conversation,) = service.conversations
        assert (conversation.data, conversation.ended) == (b"ping\r\n", True)
        assert proxy.stats["tcp.lesson.downstream_cx_total"] == 1
        assert proxy.stats["cluster.service.upstream_cx_total"] == 1


@pytest.mark.parametrize(
    ("path", "headers", "host", "cluster"),
    [
        ("/users", (), "", "users"),
        ("/users?page=2", (), "", "users"),
        ("/users/42", (), "", "users"),
        ("/users/me", (), "", None),
        ("/orders", (), "", "orders"),
        ("/orders/7", (), "", "orders"),
        ("/ordersheet", (), "", None),
        ("/orders", [("x-version", "beta")], "", "orders_beta"),
        ("/orders", [("x-version", "alpha")], "", "orders"),
        ("/orders/7?preview=1", (), "", "orders_beta"),
        ("/anything", (), "shop.example.com", "orders"),
        ("/anything", (), "SHOP.example.com", "orders"),
        ("/anything", (), "other.example.com", None),
    ],
)
async def test_03_a_request_goes_where_its_route_says(lesson, fetch, path, headers, host, cluster):
    async with (
        FakeUpstream("users") as users,
        FakeUpstream("orders") as orders,
        FakeUpstream("orders_beta") as beta,
        Proxy.from_yaml(
            lesson(3),
            endpoints={"users": [users.address], "orders": [orders.address], "orders_beta": [beta.address]},
        ) as proxy,
    ):
        response = await fetch(proxy.url("http") + path, headers=headers, host=host)
        if cluster is None:
            assert (response.status, response.body) == (404, b"")
        else:
            assert (response.status, response.body.decode()) == (200, cluster)


async def test_04_headers_and_paths_change_on_the_way(lesson, fetch):
    answer = Reply(b"ok", headers=(("x-powered-by", "paper"), ("x-kept", "yes")))
    async with (
        FakeUpstream(answer) as service,
        Proxy.from_yaml(lesson(4), endpoints={"service": [service.address]}) as proxy,
    ):
        sent = [("x-debug", "1"), ("x-tag", "mine"), ("x-client", "forged"), ("x-locale", "de")]
        response = await fetch(f"{proxy.url('http')}/api/users?page=2", headers=sent)
        (request,) = service.requests
        assert request.path == "/v2/users?page=2"
        assert request["x-envoy-original-path"] == "/api/users?page=2"
        assert "x-debug" not in request
        assert [value for name, value in request.headers if name == "x-tag"] == ["mine", "from-the-route"]
        assert (request["x-client"], request["x-locale"]) == ("127.0.0.1", "de")
        assert (response["x-served-by"], response["x-kept"]) == ("lesson-4", "yes")
        assert "x-powered-by" not in response


@pytest.mark.parametrize(
    ("path", "seconds", "body"), [("/fast", 0.3, b"upstream request timeout"), ("/stream", 1.1, b"stream timeout")]
)
async def test_05_who_waits_too_long_gets_a_504(lesson, fetch, path, seconds, body):
    async with (
        FakeUpstream(Reply(hang=True)) as service,
        Proxy.from_yaml(lesson(5), endpoints={"service": [service.address]}, time="simulated") as proxy,
    ):
        response = asyncio.ensure_future(fetch(proxy.url("http") + path))
        await asyncio.wait_for(service.wait_for_requests(), 10)
        await proxy.advance(seconds)
        answer = await response
        assert (answer.status, answer.body) == (504, body)


async def test_06_every_request_is_a_line_and_a_failure_is_two(lesson, fetch, capfd):
    async with Proxy.from_yaml(lesson(6)) as proxy:
        await fetch(proxy.url("http"), headers=[("x-user", "ann")])
        await fetch(f"{proxy.url('http')}/teapot")
        await fetch(f"{proxy.url('http')}/nowhere")
    written = capfd.readouterr().out.splitlines()
    lines = [json.loads(line) for line in written if line.startswith("{")]
    assert lines == [
        _line("/", 200, "direct_response", user="ann"),
        _line("/teapot", 418, "direct_response"),
        _line("/nowhere", 404, "route_not_found", flags="NR"),
    ]
    assert [line for line in written if not line.startswith("{")] == [
        "FAILED GET /teapot 418 -",
        "FAILED GET /nowhere 404 NR",
    ]


def _line(path: str, status: int, details: str, flags: str = "-", user: str | None = None) -> dict[str, object]:
    return {"method": "GET", "path": path, "status": status, "details": details, "flags": flags, "user": user}


async def test_07_the_admin_interface_knows_what_happened(lesson, fetch):
    async with (
        FakeUpstream("ok") as service,
        Proxy.from_yaml(lesson(7), endpoints={"service": [service.address]}) as proxy,
    ):
        await fetch(proxy.url("http"))
        admin = proxy.url("admin")
        assert (await fetch(f"{admin}/ready")).body == b"LIVE\n"
        stats = (await fetch(f"{admin}/stats?usedonly&filter=lesson")).body.decode()
        assert "http.lesson.downstream_rq_2xx: 1\n" in stats
        clusters = (await fetch(f"{admin}/clusters")).body.decode()
        assert f"service::{service.address}::rq_success::1\n" in clusters
        assert proxy.stats["http.lesson.downstream_rq_2xx"] == 1


async def test_08_an_answer_needs_no_upstream(lesson, fetch):
    async with Proxy.from_yaml(lesson(8)) as proxy:
        hello = await fetch(f"{proxy.url('http')}/hello")
        assert (hello.status, hello.body, hello["content-type"]) == (200, b"hello\n", "text/plain; charset=utf-8")
        gone = await fetch(f"{proxy.url('http')}/gone")
        assert (gone.status, gone.body) == (410, b"")


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/old/page?x=1", 308, "http://shop.example.com/new/page?x=1"),
        ("/secure?x=1", 301, "https://www.example.com/secure"),
    ],
)
async def test_08_a_redirect_keeps_what_it_does_not_replace(lesson, fetch, path, status, location):
    async with Proxy.from_yaml(lesson(8)) as proxy:
        response = await fetch(proxy.url("http") + path, host="shop.example.com")
        assert (response.status, response["location"]) == (status, location)


@pytest.mark.parametrize("cluster", ["strict", "logical"])
async def test_09_a_host_can_be_a_name(read_lesson, fetch, cluster):
    async with FakeUpstream("resolved") as service:
        port = service.address.rpartition(":")[2]
        bootstrap = read_lesson(9).replace("port_value: 8001", f"port_value: {port}")
        async with Proxy.from_yaml(bootstrap) as proxy:
            response = await fetch(f"{proxy.url('http')}/{cluster}")
            assert (response.status, response.body) == (200, b"resolved")


@pytest.mark.parametrize(
    ("source", "answer"), [("127.0.0.1", b"from the loopback network\n"), ("127.0.0.2", b"from 127.0.0.2 itself\n")]
)
async def test_10_the_most_specific_chain_wins(lesson, source, answer):
    async with Proxy.from_yaml(lesson(10)) as proxy:
        _, port = proxy.address("chains")
        assert await converse(("127.0.0.1", port), source=source) == answer


async def test_13_a_service_decides_who_may_come_in(lesson, fetch, capfd):
    async with (
        FakeUpstream(403, paths={"/check/mine": [Reply(headers=(("x-user", "ada"),))]}) as authz,
        FakeUpstream("the application") as application,
        Proxy.from_yaml(
            lesson(13), endpoints={"authz": [authz.address], "application": [application.address]}
        ) as proxy,
    ):
        url = proxy.url("web")
        assert (await fetch(url + "/private")).status == 403
        mine = await fetch(url + "/mine", headers=[("cookie", "me=1"), ("x-other", "2")])
        assert (mine.status, mine.body) == (200, b"the application")
        assert (await fetch(url + "/public")).status == 200
        asked = [(each.path, dict(each.headers).get("cookie")) for each in authz.requests]
        assert asked == [("/check/private", None), ("/check/mine", "me=1")]
        assert dict(application.requests[0].headers)["x-user"] == "ada"
        stats = [proxy.stats[f"http.web.ext_authz.{name}"] for name in ("ok", "denied", "error")]
        assert stats == [1, 1, 0]
    lines = capfd.readouterr().out.splitlines()
    assert lines[:2] == ["/private 403 UAEX ext_authz_denied user=-", "/mine 200 - via_upstream user=ada"]


async def test_14_a_control_plane_tells_what_to_do_and_changes_it(read_lesson, root, tmp_path, fetch):
    resources = tmp_path / "resources.yaml"
    told = (root / "configs/control_plane/resources.yaml").read_text().replace("port_value: 10000", "port_value: 0")
    async with FakeUpstream("the service") as service:
        told = told.replace("port_value: 8081", f"port_value: {service.address.rpartition(':')[2]}")
        resources.write_text(told)
        async with XdsServer(file=str(resources)) as server:
            bootstrap = read_lesson(14).replace("port_value: 18000", f"port_value: {server.port}")
            async with Proxy.from_yaml(bootstrap) as proxy, asyncio.timeout(20):
                url = proxy.url("web")
                assert (await fetch(url + "/")).body == b"the control plane says hello\n"
                assert (await fetch(url + "/service")).body == b"the service"
                resources.write_text(told.replace("says hello", "has changed its mind"))
                answer = b"the control plane says hello\n"
                while answer == b"the control plane says hello\n":
                    answer = (await fetch(url + "/")).body
                assert answer == b"the control plane has changed its mind\n"
                assert proxy.stats["listener_manager.lds.update_success"] == 1


async def test_every_lesson_is_tested_and_opens_with_its_title(root):
    lessons = sorted((root / "configs").glob("[0-9]*.yaml"))
    tests = "".join(path.read_text() for path in (root / "tests/integration").glob("test_*lessons.py"))
    for number, path in enumerate(lessons, 1):
        assert path.name.startswith(f"{number:02d}_")
        assert f"async def test_{number:02d}_" in tests
        assert re.match(rf"# Lesson {number}: [^\n]*\.\n#\n# ", path.read_text())


async def test_envoy_takes_every_lesson_too(root, envoy):
    for path in sorted((root / "configs").rglob("*.yaml")):
        if "static_resources:" not in path.read_text():
            continue  # not a bootstrap
        done = envoy("--mode", "validate", "-l", "warning", "-c", str(path))
        if OWN_CLUSTER in path.read_text():
            assert done.stderr.endswith(f"'{path}': {ENVOY_HAS_NO_SUCH_CLUSTER}\n")
            continue
        assert (done.returncode, done.stdout, done.stderr) == (0, f"configuration '{path}' OK\n", "")


async def test_the_image_answers_before_it_is_configured(root, fetch):
    async with Proxy.from_yaml(str(root / "configs/docker/envoy.yaml")) as proxy:
        _, port = proxy.address("http")
        response = await fetch(f"http://127.0.0.1:{port}/")
        assert (response.status, response.body[:21]) == (200, b"minienvoy is running;")
