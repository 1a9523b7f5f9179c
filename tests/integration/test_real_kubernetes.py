"""Against a cluster that is there: `KUBECONFIG=... python -m pytest -m realkube`. It only looks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minienvoy import Proxy
from tests.bootstraps import ADMIN, kubernetes_cluster

pytestmark = [pytest.mark.asyncio, pytest.mark.realkube]


@pytest.mark.parametrize("port", ["https", "443"])
async def test_the_api_servers_own_service_is_followed(fetch: Any, port: str) -> None:
    # Every cluster has it, and its slice is written by the API server itself.
    cluster = kubernetes_cluster("api", f"service: default/kubernetes, port: {port}, initial_fetch_timeout: 60s")
    async with Proxy.from_yaml(f"{ADMIN}static_resources:\n  clusters:\n{cluster}") as proxy:
        text = (await fetch(f"{proxy.url('admin')}/minienvoy/kubernetes?format=json")).body
        (told,) = json.loads(text)["clusters"]
        assert told["synced"], told
        assert told["problem"] == ""
        assert [each for each in told["endpoints"] if each["host"] and each["health"] == "healthy"], told
        assert all(watch["synced"] and not watch["problem"] for watch in told["watches"]), told
