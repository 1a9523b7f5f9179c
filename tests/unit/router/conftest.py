"""Route tables from plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.explain.explanation import NO_EXPLANATION, Explanation
from minienvoy.http.header_map import RequestHeaderMap, entry
from minienvoy.router.config import RouteConfig
from minienvoy.stream_info import ConnectionInfo, StreamInfo


class Stream(StreamInfo):
    """As much of a stream as a route table looks at."""

    def __init__(self, explain: Explanation = NO_EXPLANATION) -> None:
        self.explain = explain
        self.connection = ConnectionInfo(None, None)

    def describe(self) -> None: ...


@pytest.fixture
def route_config() -> Callable[..., RouteConfig]:
    """`route_config([routes of the only virtual host])` or `route_config(virtual_hosts=[...])`."""

    def make(
        routes: list[Any] | None = None, *, cluster_exists: Callable[[str], bool] | None = None, **fields: Any
    ) -> RouteConfig:
        if routes is not None:
            fields["virtual_hosts"] = [{"name": "all", "domains": ["*"], "routes": routes}]
        message = load_dict(fields, "envoy.config.route.v3.RouteConfiguration").message
        return RouteConfig(message, "route_config", cluster_exists=cluster_exists)

    return make


@pytest.fixture
def request_headers() -> Callable[..., RequestHeaderMap]:
    """`request_headers("/path", "host", {"name": "value"})`."""

    def make(
        path: str = "/", host: str = "a.com", headers: dict[str, str] | None = None, method: str = "GET"
    ) -> RequestHeaderMap:
        entries = [entry(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        return RequestHeaderMap(method.encode(), path.encode(), host.encode(), entries)

    return make


@pytest.fixture
def stream() -> Stream:
    return Stream()
