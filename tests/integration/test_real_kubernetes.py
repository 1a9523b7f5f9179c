"""Against a cluster that is there: `KUBECONFIG=... python -m pytest -m realkube`. It only looks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minienvoy import Proxy

pytestmark = [pytest.mark.asyncio, pytest.mark.realkube]

CONFIG = """\
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  clusters:
  - name: api
    cluster_type:
      name: minienvoy.clusters.kubernetes
      typed_config:
        "@type": type.googleapis.com/xds.type.v3.TypedStruct
        type_url: type.googleapis.com/minienvoy.clusters.Kubernetes
        value: {service: default/kubernetes, port: PORT, initial_fetch_timeout: 60s}
"""


@pytest.mark.parametrize("port", ["https", "443"])
async def test_the_api_servers_own_service_is_followed(fetch: Any, port: str) -> None:
    # Every cluster has it, and its slice is written by the API server itself.
    async with Proxy.from_yaml(CONFIG.replace("PORT", port)) as proxy:
        text = (await fetch(f"{proxy.url('admin')}/minienvoy/kubernetes?format=json")).body
        (told,) = json.loads(text)["clusters"]
        assert told["synced"], told
        assert told["problem"] == ""
        assert [each for each in told["endpoints"] if each["host"] and each["health"] == "healthy"], told
        assert all(watch["synced"] and not watch["problem"] for watch in told["watches"]), told
