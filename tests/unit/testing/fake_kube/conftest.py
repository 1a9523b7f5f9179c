from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.testing.fake_kube import FakeKube
from minienvoy.testing.fake_kube.resource_types import ENDPOINT_SLICES, NAMESPACES
from minienvoy.testing.fake_kube.store import Key

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> Any:
    """An exchange with a real API server, without `managedFields`."""
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def recorded_watch(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What was asked, and the lines that came."""
    first, *lines = (RECORDED / f"{name}.ndjson").read_text(encoding="utf-8").splitlines()
    return json.loads(first)["_meta"], [json.loads(line) for line in lines]


def put_as_recorded(kube: FakeKube, objects: list[dict[str, Any]]) -> None:
    """Slices with the versions that they had."""
    for each in sorted(objects, key=lambda each: int(each["metadata"]["resourceVersion"])):
        version = int(each["metadata"]["resourceVersion"])
        kube.store.version = version - 1
        whole = {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", **each}
        metadata = whole["metadata"]
        kube.store.put(Key(ENDPOINT_SLICES, metadata["namespace"], metadata["name"]), whole)


@pytest.fixture
def dispatcher() -> Iterator[SimulatedDispatcher]:
    loop = asyncio.new_event_loop()
    yield SimulatedDispatcher(loop)
    loop.close()


@pytest.fixture
def kube(dispatcher: SimulatedDispatcher) -> FakeKube:
    """A server without a socket."""
    kube = FakeKube()
    kube.prepare(dispatcher)
    return kube


@pytest.fixture
def seven(kube: FakeKube) -> FakeKube:
    """With the seven slices of the recorded namespace `lab3`."""
    kube.registry.create(NAMESPACES, "", {"metadata": {"name": "lab3"}})
    put_as_recorded(kube, recorded("list_endpointslices_7")["response"]["body"]["items"])
    return kube


Settle = Callable[[], None]


@pytest.fixture
def settle(dispatcher: SimulatedDispatcher) -> Settle:
    """Let controllers do what there is to do."""

    def settle() -> None:
        for _ in range(4):
            dispatcher.loop.call_soon(dispatcher.loop.stop)
            dispatcher.loop.run_forever()

    return settle
