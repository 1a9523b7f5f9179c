"""A proxy in a thread, for tests that do not await."""

from __future__ import annotations

import asyncio
import http.client
import threading

import pytest

from minienvoy import ConfigError, Proxy
from minienvoy.errors import UsageError
from minienvoy.event.loop_thread import LoopThread
from minienvoy.testing.fake_upstream import FakeUpstream, Reply

CONFIG = """\
static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: users, timeout: 2s}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: users
"""


def get(proxy: object, path: str = "/") -> tuple[int, bytes]:
    host, port = proxy.address()  # type: ignore[attr-defined]
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_synchronous_test_asks_a_proxy_and_its_upstream() -> None:
    with (
        FakeUpstream("hello").in_thread() as upstream,
        Proxy.from_yaml(CONFIG, endpoints={"users": [upstream.address]}).in_thread() as proxy,
    ):
        assert get(proxy, "/a") == (200, b"hello")
        assert proxy.stats["cluster.users.upstream_rq_200"] == 1
        assert proxy.stats.get("nope", 7) == 7
        assert str(proxy.explain.last()["cluster"].chose) == "users"
        assert [request.path for request in upstream.requests] == ["/a"]
        assert proxy.url().startswith("http://127.0.0.1:")
    # What was counted and explained is there after the end, and the threads are not.
    assert proxy.stats["http.ingress.downstream_rq_2xx"] == 1
    assert "http.ingress.downstream_rq_2xx" in list(proxy.stats)
    assert len(proxy.explain) == 1
    assert not [thread for thread in threading.enumerate() if thread.name in ("minienvoy", "fake upstream")]


def test_many_requests_are_all_counted_when_they_are_answered() -> None:
    with (
        FakeUpstream("hello").in_thread() as upstream,
        Proxy.from_yaml(CONFIG, endpoints={"users": [upstream.address]}).in_thread() as proxy,
    ):
        for number in range(1, 51):
            get(proxy)
            assert proxy.stats["http.ingress.downstream_rq_2xx"] == number
            assert len(proxy.explain) == number


def test_simulated_time_is_moved_from_outside() -> None:
    thread = LoopThread()
    thread.start()
    upstream = FakeUpstream(Reply(hang=True))
    thread.run(upstream.start())
    options = {"endpoints": {"users": [upstream.address]}, "time": "simulated"}
    proxy = Proxy.from_yaml(CONFIG, **options).in_thread(thread)  # type: ignore[arg-type]
    try:
        proxy.start()
        answers: list[tuple[int, bytes]] = []
        client = threading.Thread(target=lambda: answers.append(get(proxy)))
        client.start()
        thread.run(upstream.wait_for_requests(), timeout=10)
        proxy.advance(2.5)
        client.join(timeout=10)
        assert answers == [(504, b"upstream request timeout")]
    finally:
        proxy.stop()
        thread.run(upstream.stop())
        assert thread.running
        thread.stop()


def test_a_configuration_that_can_not_be_used_leaves_no_thread() -> None:
    with pytest.raises(ConfigError, match="nope"), Proxy.from_yaml(CONFIG.replace("users, t", "nope, t")).in_thread():
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "minienvoy"]


def test_a_thread_does_not_wait_for_itself() -> None:
    thread = LoopThread()
    with pytest.raises(UsageError, match="does not run"):
        thread.call(lambda: 1)
    thread.start()

    async def inside() -> str:
        try:
            return str(thread.call(lambda: 1))
        except UsageError as error:
            return str(error)

    assert "can not wait for itself" in thread.run(inside())
    with pytest.raises(TimeoutError):
        thread.run(asyncio.sleep(10), timeout=0.01)
    thread.stop()
