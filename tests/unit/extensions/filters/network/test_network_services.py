"""Connections about which a service is asked; what Envoy does is in tests/conformance/scenarios/ext_authz_network.yaml
and global_ratelimit_network.yaml. The service here is a list of those who have asked."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.event.random import RandomGenerator
from minienvoy.extensions.filters.common.ext_authz.response import CheckStatus, Response
from minienvoy.extensions.filters.common.ratelimit import Limit, LimitStatus
from minienvoy.extensions.filters.network import ext_authz, ratelimit
from tests.unit.extensions.filters.network.test_network_limits import Listener

AUTHZ = ext_authz.TYPE
LIMIT = ratelimit.TYPE


class Service:
    """Both clients: remembers who asks, and gives up at once if told to."""

    def __init__(self, at_once: Any = None) -> None:
        self.asked: list[Any] = []
        self.given_up = 0
        self.at_once = at_once

    def check(self, callbacks: Any, *_: Any) -> Any:
        self.asked.append(callbacks)
        if self.at_once is not None:
            callbacks.on_complete(self.at_once)
        return self

    def limit(self, callbacks: Any, *_: Any) -> Any:
        self.asked.append(callbacks)
        if self.at_once is not None:
            callbacks.complete(self.at_once)
        return self

    def reset(self) -> None:
        self.given_up += 1


class Asking(Listener):
    """A listener whose filters ask `service`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.service = Service()
        self.context.server.random = RandomGenerator(7)
        self.context.server.node = message_class("envoy.config.core.v3.Node")()
        monkeypatch.setattr(ext_authz, "GrpcAuthorizationClient", lambda *_: self.service)
        monkeypatch.setattr(ratelimit, "RateLimitClient", lambda *_: self.service)

    def authz(self, **fields: Any) -> Any:
        return self.connect(self.filter(ext_authz.create_ext_authz_filter, AUTHZ, **fields))

    def limited(self, **fields: Any) -> Any:
        fields = {"domain": "d", "descriptors": [{"entries": [{"key": "a", "value": "b"}]}], **fields}
        fields["rate_limit_service"] = {"grpc_service": {"envoy_grpc": {"cluster_name": "a"}}}
        return self.connect(self.filter(ratelimit.create_rate_limit_filter, LIMIT, **fields))

    def stats(self, prefix: str, *names: str) -> list[Any]:
        return [self.store.value(f"{prefix}.x.{name}") for name in names]


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Asking:
    return Asking(monkeypatch)


def denied() -> Response:
    return Response(CheckStatus.DENIED, 403)


def test_what_a_client_says_waits_for_the_decision_and_goes_on(listener: Asking) -> None:
    connection, transport = listener.authz()
    assert listener.service.asked == []
    connection.data_received(b"hel")
    connection.data_received(b"lo")
    listener.turns.settle()
    assert transport.sent == []
    assert listener.stats("ext_authz", "total", "active", "ok") == [1, 1, 0]
    listener.service.asked[0].on_complete(Response(CheckStatus.OK, 200))
    connection.data_received(b"!")
    listener.turns.settle()
    assert b"".join(transport.sent) == b"hello!"
    assert len(listener.service.asked) == 1
    assert listener.stats("ext_authz", "total", "active", "ok") == [1, 0, 1]


def test_a_client_that_is_denied_is_closed(listener: Asking) -> None:
    connection, transport = listener.authz()
    connection.data_received(b"hello")
    listener.service.asked[0].on_complete(denied())
    assert (connection.closed, transport.sent) == (True, [])
    assert connection.explain["ext_authz"].chose == "denied"
    assert listener.stats("ext_authz", "denied", "cx_closed", "active") == [1, 1, 0]


@pytest.mark.parametrize(("allowed", "closed"), [(False, True), (True, False)])
def test_whoever_can_not_be_asked_about_is_closed_or_let_in(listener: Asking, allowed: bool, closed: bool) -> None:
    listener.service.at_once = Response(CheckStatus.ERROR)
    connection, _ = listener.authz(failure_mode_allow=allowed)
    connection.data_received(b"hello")
    assert connection.closed is closed
    names = ("error", "failure_mode_allowed", "cx_closed")
    assert listener.stats("ext_authz", *names) == [1, int(allowed), int(closed)]


def test_in_shadow_mode_a_denial_is_only_noted(listener: Asking) -> None:
    listener.service.at_once = denied()
    connection, transport = listener.authz(shadow_mode=True)
    connection.data_received(b"hello")
    listener.turns.settle()
    assert b"".join(transport.sent) == b"hello"
    assert ext_authz.NAME in connection.stream_info.filter_state


@pytest.mark.parametrize("kind", ["authz", "limited"])
def test_nobody_is_asked_on_behalf_of_a_client_that_has_gone(listener: Asking, kind: str) -> None:
    connection, _ = getattr(listener, kind)()
    connection.data_received(b"hello")
    connection.connection_lost(None)
    assert listener.service.given_up == 1
    prefix = "ext_authz" if kind == "authz" else "ratelimit"
    assert listener.stats(prefix, "total", "active") == [1, 0]


def test_the_limit_is_asked_for_before_anything_is_said(listener: Asking) -> None:
    connection, transport = listener.limited()
    assert len(listener.service.asked) == 1
    connection.data_received(b"hello")
    listener.turns.settle()
    assert transport.sent == []
    listener.service.asked[0].complete(Limit(LimitStatus.OK))
    listener.turns.settle()
    assert b"".join(transport.sent) == b"hello"
    assert listener.stats("ratelimit", "total", "ok", "active") == [1, 1, 0]


@pytest.mark.parametrize(
    ("status", "fields", "closed"),
    [
        (LimitStatus.OVER_LIMIT, {}, True),
        (LimitStatus.ERROR, {}, False),
        (LimitStatus.ERROR, {"failure_mode_deny": True}, True),
    ],
)
def test_a_connection_too_many_is_closed(listener: Asking, status: LimitStatus, fields: Any, closed: bool) -> None:
    connection, _ = listener.limited(**fields)
    listener.service.asked[0].complete(Limit(status))
    assert connection.closed is closed
    assert listener.stats("ratelimit", "cx_closed") == [int(closed)]
