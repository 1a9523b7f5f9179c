"""Recordings of a real API server, and reflectors without one."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minienvoy.discovery.kubernetes.objects import ENDPOINT_SLICES, ObjectKey, Resource
from minienvoy.discovery.kubernetes.reflector import Reflector, Request
from minienvoy.discovery.kubernetes.store import Store

DATA = Path(__file__).parents[3] / "data" / "kubernetes"


class Recordings:
    """By name, without the ending."""

    def items(self, name: str) -> list[dict[str, Any]]:
        """Of a list that was recorded."""
        items: list[dict[str, Any]] = self.body(name)["items"]
        return items

    def body(self, name: str) -> dict[str, Any]:
        recorded = json.loads(self._read(f"{name}.json"))
        body = recorded.get("response", recorded)["body"]
        return json.loads(body) if isinstance(body, str) else body

    def lines(self, name: str) -> bytes:
        """The events of a watch, as they came over the wire."""
        return self._read(f"{name}.ndjson").split(b"\n", 1)[1]

    def pages(self, name: str) -> list[dict[str, Any]]:
        pages: list[dict[str, Any]] = json.loads(self._read(f"{name}.json"))
        return pages

    def _read(self, name: str) -> bytes:
        path = DATA / name
        return path.read_bytes() if path.exists() else gzip.decompress((DATA / f"{name}.gz").read_bytes())


@pytest.fixture
def recorded() -> Recordings:
    return Recordings()


class Asked:
    """A reflector that is driven by hand."""

    def __init__(self, resource: Resource = ENDPOINT_SLICES, *, watch_list: bool = False, **selectors: str) -> None:
        self.store = Store()
        self.told: list[frozenset[ObjectKey]] = []
        self.store.add_listener(self.told.append)
        self.reflector = Reflector(resource, "lab", self.store, random.Random(7), **selectors)
        self.reflector.watch_list = watch_list
        self.stats = self.reflector.stats

    def ask(self) -> Request:
        self.request = self.reflector.next_request()
        return self.request

    def query(self) -> dict[str, str]:
        return dict(self.ask().query)

    def answer(self, body: Any, status: int = 200, *, retry_after: float | None = None, lasted: float = 0.1) -> float:
        """To what is not a watch; how long to wait after it."""
        self.ask()
        assert not self.reflector.answered(status)
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        exhaust(self.reflector.listed(text, retry_after))
        return self.reflector.ended("", lasted)

    def watch(self, *chunks: bytes, problem: str = "", lasted: float = 20.0) -> float:
        """What a watch brings; how long to wait after it."""
        self.ask()
        assert self.reflector.answered(200)
        for chunk in chunks:
            if not self.reflector.over:
                exhaust(self.reflector.watched(chunk))
        return self.reflector.ended(problem, lasted)

    def refuse(self, problem: str = "no way there") -> float:
        self.ask()
        return self.reflector.ended(problem, 0.0)

    def names(self) -> list[str]:
        return [each.key.name for each in self.store]


def exhaust(steps: Iterable[None]) -> None:
    for _ in steps:
        pass


def listing(version: str, *items: dict[str, Any], **metadata: str) -> dict[str, Any]:
    return {"kind": "EndpointSliceList", "metadata": {"resourceVersion": version, **metadata}, "items": list(items)}


def item(name: str, version: str = "1") -> dict[str, Any]:
    return {"metadata": {"namespace": "lab", "name": name, "resourceVersion": version}}


def line(kind: str, name: str = "", version: str = "1", **more: Any) -> bytes:
    metadata = {"namespace": "lab", "name": name, "resourceVersion": version}
    return json.dumps({"type": kind, "object": {"metadata": {**metadata, **more}}}).encode() + b"\n"


@pytest.fixture
def asked() -> Iterator[Asked]:
    yield Asked()
