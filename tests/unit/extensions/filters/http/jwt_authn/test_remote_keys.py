"""When keys are fetched; the requests themselves are in tests/conformance/scenarios/jwt_remote.yaml."""

from __future__ import annotations

import gc
import json
from types import SimpleNamespace
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.extensions.filters.http.jwt_authn import remote_keys
from minienvoy.extensions.filters.http.jwt_authn.keys import KeySet
from minienvoy.extensions.filters.http.jwt_authn.remote_keys import JwtStats, RemoteKeys
from minienvoy.http.header_map import ResponseHeaderMap
from minienvoy.stats.store import Store

KEYS = json.dumps({"keys": [{"kty": "oct", "k": "YWJj"}]}).encode()


class Stream:
    def __init__(self, callbacks: Any) -> None:
        self.callbacks = callbacks
        self.is_reset = False

    def reset(self) -> None:
        self.is_reset = True


class World:
    """A server whose requests are kept instead of sent; what is due at once is in `answers`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dispatcher = SimulatedDispatcher(SimpleNamespace(time=lambda: 0.0, call_soon=None))  # type: ignore[arg-type]
        self.server: Any = SimpleNamespace(dispatcher=self.dispatcher, begin=lambda target: target())
        self.stats = Store().scope("jwt_authn").struct(JwtStats)
        self.sent: list[Stream] = []
        self.answers: list[bytes] = []
        monkeypatch.setattr(remote_keys, "async_client", lambda server: self)

    def send(self, cluster: str, headers: Any, body: bytes, callbacks: Any, *arguments: Any) -> Stream:
        self.sent.append(Stream(callbacks))
        if self.answers:
            self.answer(self.answers.pop(0))
        return self.sent[-1]

    def answer(self, body: bytes, status: int = 200) -> None:
        self.sent[-1].callbacks.on_success(ResponseHeaderMap(status), body, None)

    def remote(self, **fields: Any) -> RemoteKeys:
        uri = {"uri": "http://a.test/keys", "cluster": "c", "timeout": "1s"}
        proto = load_dict({"http_uri": uri, **fields}, "envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks").message
        return RemoteKeys(proto, "remote_jwks", "p", self.server, self.stats)

    @property
    def counted(self) -> tuple[int, int]:
        return self.stats.jwks_fetch_success, self.stats.jwks_fetch_failed


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_keys_last_for_ten_minutes(world: World) -> None:
    remote = world.remote()
    told: list[KeySet | None] = []
    remote.fetch(told.append)
    assert remote.keys is None
    world.answer(KEYS)
    assert told == [remote.keys] and remote.keys is not None
    world.dispatcher.advance(599.0)
    assert remote.keys is not None
    world.dispatcher.advance(1.0)
    assert remote.keys is None
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 200), (b"no", 200), (b'{"keys":[]}', 200), (KEYS, 201), (b"[" * 100_000, 200)]
)
def test_answers_that_are_none(world: World, body: bytes, status: int) -> None:
    remote = world.remote()
    told: list[KeySet | None] = []
    remote.fetch(told.append)
    world.answer(body, status)
    assert (told, remote.keys, world.counted) == ([None], None, (0, 1))


def test_an_answer_before_the_request_has_returned(world: World) -> None:
    remote = world.remote()
    world.answers.append(KEYS)
    told: list[KeySet | None] = []
    fetch = remote.fetch(told.append)
    assert not fetch.running and told == [remote.keys]


def test_nothing_is_told_of_what_was_given_up(world: World) -> None:
    remote = world.remote()
    told: list[KeySet | None] = []
    fetch = remote.fetch(told.append)
    fetch.cancel()
    assert world.sent[0].is_reset
    world.answer(KEYS)
    assert (told, remote.keys, world.counted) == ([], None, (0, 0))


def test_keys_are_fetched_ahead_and_renewed(world: World) -> None:
    remote = world.remote(async_fetch={}, cache_duration="60s")
    world.answer(KEYS)
    first = remote.keys
    world.dispatcher.advance(54.9)
    assert len(world.sent) == 1
    world.dispatcher.advance(0.2)
    assert len(world.sent) == 2
    world.dispatcher.advance(100.0)
    assert remote.keys is first is not None, "old keys are used as long as there are no others"
    world.answer(KEYS)
    assert remote.keys is not first


def test_keys_that_could_not_be_fetched_ahead_are_tried_again(world: World) -> None:
    remote = world.remote(async_fetch={"failed_refetch_duration": "2s"})
    world.answer(b"", 503)
    world.dispatcher.advance(1.9)
    assert len(world.sent) == 1
    world.dispatcher.advance(0.2)
    world.answer(KEYS)
    assert remote.keys is not None and world.counted == (1, 1)


def test_nothing_is_renewed_when_the_configuration_is_gone(world: World) -> None:
    remote = world.remote(async_fetch={}, cache_duration="60s")
    world.answer(KEYS)
    world.sent.clear()
    del remote
    gc.collect()
    world.dispatcher.advance(1000.0)
    assert world.sent == []


def test_renewing_does_not_go_round_and_round(world: World) -> None:
    """A short life is no busy loop, and neither is no waiting after a failure."""
    kept = [
        world.remote(async_fetch={}, cache_duration="0.001s"),
        world.remote(async_fetch={"failed_refetch_duration": "0s"}),
    ]
    world.answers = [KEYS] * 10_000
    before = len(world.sent)
    world.sent[0].callbacks.on_success(ResponseHeaderMap(200), KEYS, None)
    world.sent[1].callbacks.on_failure()
    world.dispatcher.advance(1.0)
    assert len(world.sent) - before <= 202 and kept
