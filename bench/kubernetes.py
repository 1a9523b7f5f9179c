"""What it costs to follow a large Service: 10,000 endpoints in 1,000 slices.

    python -m bench.kubernetes [--policy NAME | --every-policy] [--json]

A process of its own plays the API server: two pages of 1.8 MB, then changes of one slice each. Measured is the other
side: the CPU and the memory until all endpoints are hosts, the client library's import apart from the rest; the longest
time that the event loop had no turn, in CPU as well as by the clock, for the clock sees the neighbours of a shared
machine, too; what one event costs from its line until no request goes to who has left; with what follows from it, for
policies that build a structure while the old one serves; and the longest turn meanwhile.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

SLICES = 1000
ENDPOINTS = 10
EVENTS = 40
EXTENSIONS = "type.googleapis.com/envoy.extensions.load_balancing_policies"
POLICIES: dict[str, dict[str, Any]] = {
    **{each: {"lb_policy": each} for each in ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV")},
    "weights": {},
    "localities": {"common_lb_config": {"locality_weighted_lb_config": {}}},
    "subsets": {
        "lb_subset_config": {"fallback_policy": "ANY_ENDPOINT", "subset_selectors": [{"keys": ["node"]}]},
    },
    "own_weights": {
        "load_balancing_policy": {
            "policies": [
                {
                    "typed_extension_config": {
                        "name": "weights",
                        "typed_config": {
                            "@type": f"{EXTENSIONS}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
                        },
                    }
                }
            ]
        }
    },
}
"""By what a table calls them."""
VALUES: dict[str, dict[str, Any]] = {"weights": {"weight_annotation": "weight"}}
"""What some of them say of what is followed."""
LOOK = 0.001
"""Seconds between two looks at how long the event loop had no turn."""
CLUSTER: dict[str, Any] = {
    "name": "web",
    "cluster_type": {
        "name": "minienvoy.clusters.kubernetes",
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": "type.googleapis.com/minienvoy.clusters.Kubernetes",
            "value": {"service": "shop/web", "port": "http"},
        },
    },
}


def cluster_of(policy: str) -> dict[str, Any]:
    cluster = copy.deepcopy(CLUSTER)
    cluster["cluster_type"]["typed_config"]["value"].update(VALUES.get(policy, {}))
    return {**cluster, **POLICIES[policy]}


def slice_of(number: int, version: int, ready: bool = True) -> dict[str, Any]:
    """With all that the controller writes into one."""
    fields = {f"f:{name}": {".": {}} for name in ("annotations", "generateName", "labels", "ownerReferences", "ports")}
    owner = {"apiVersion": "v1", "kind": "Service", "name": "web", "uid": "e47a14b7-321a-4bac-a03e-a23a3911a0a9"}
    managed = {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:metadata": fields}}
    return {
        "metadata": {
            "name": f"web-{number:05d}",
            "generateName": "web-",
            "namespace": "shop",
            "uid": f"28ec6654-2697-4151-a74f-{number:012d}",
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": "2026-11-23T05:15:03Z",
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": "web",
            },
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-23T05:15:03Z"},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            "managedFields": [{**managed, "apiVersion": "discovery.k8s.io/v1", "time": "2026-11-23T05:17:00Z"}],
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [f"10.{number // 250}.{number % 250}.{at}"],
                "conditions": {"ready": ready, "serving": ready, "terminating": False},
                "targetRef": {
                    "kind": "Pod",
                    "namespace": "shop",
                    "name": f"web-7d9fb-{number:04d}{at:02d}",
                    "uid": f"272dc16c-815c-48d4-8532-{number:08d}{at:04d}",
                },
                "nodeName": f"node-{(number * 7 + at) % 100}",
                "zone": f"eu-1{'abc'[at % 3]}",
            }
            for at in range(ENDPOINTS)
        ],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }


def pod_of(number: int, at: int) -> dict[str, Any]:
    """As much of one as is looked at; the pods of a slice have weights from 1 to 10."""
    name = f"web-7d9fb-{number:04d}{at:02d}"
    metadata = {"name": name, "namespace": "shop", "resourceVersion": "9000", "annotations": {"weight": str(at + 1)}}
    return {"metadata": metadata, "spec": {"containers": []}, "status": {"phase": "Running"}}


def serve() -> None:
    """Be the API server, until standard input ends; each line of it is an event of one slice."""
    from aiohttp import web

    pages = [
        json.dumps(
            {
                "kind": "EndpointSliceList",
                "metadata": {"resourceVersion": "9000", **({"continue": "next"} if half == 0 else {})},
                "items": [slice_of(number, 1000 + number) for number in range(half * 500, half * 500 + 500)],
            }
        ).encode()
        for half in range(SLICES // 500)
    ]
    pods = [pod_of(number, at) for number in range(SLICES) for at in range(ENDPOINTS)]
    ports = [{"name": "http", "protocol": "TCP", "port": 80}]
    service = {"metadata": {"namespace": "shop", "name": "web", "resourceVersion": "1"}}
    service["spec"] = {"ports": ports, "ipFamilies": ["IPv4"], "clusterIP": "10.96.0.1"}  # type: ignore[assignment]
    events: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(request: web.Request) -> web.StreamResponse:
        slices = request.path.endswith("endpointslices")
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": "30"})
        if "watch" in request.query:
            stream = web.StreamResponse()
            await stream.prepare(request)
            while True:
                line = await (events.get() if slices else asyncio.Event().wait())
                await stream.write(line)  # type: ignore[arg-type]
        if request.path.endswith("pods"):
            at = int(request.query.get("continue", 0))
            metadata = {"resourceVersion": "9000", **({"continue": str(at + 500)} if at + 500 < len(pods) else {})}
            return web.json_response({"kind": "PodList", "metadata": metadata, "items": pods[at : at + 500]})
        if not slices:
            metadata = {"resourceVersion": "9000"}
            return web.json_response({"kind": "ServiceList", "metadata": metadata, "items": [service]})
        return web.Response(body=pages["continue" in request.query], content_type="application/json")

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        number = 0
        while await reader.readline():
            number += 1
            item = slice_of(number % SLICES, 9000 + number, ready=False)
            events.put_nowait(json.dumps({"type": "MODIFIED", "object": item}).encode() + b"\n")
        os._exit(0)

    asyncio.run(run())


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Lag:
    """The longest that the event loop had no turn."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    async def watch(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(LOOK)
            now, used = time.perf_counter(), time.process_time()
            self.wall, self.cpu = max(self.wall, now - wall - LOOK), max(self.cpu, used - cpu)
            wall, cpu = now, used


async def measure(next_event: Callable[[], Awaitable[None]], policy: str) -> dict[str, float]:
    from minienvoy.config.loader import load_dict
    from minienvoy.event.dispatcher import Dispatcher
    from minienvoy.event.random import RandomGenerator
    from minienvoy.extensions import register_catalogue
    from minienvoy.stats.store import Store
    from minienvoy.upstream.cluster import ClusterContext, create_cluster

    register_catalogue()
    figures: dict[str, float] = {}
    began, before = time.process_time(), resident()
    import kubernetes_asyncio.client
    import kubernetes_asyncio.config

    assert kubernetes_asyncio.client
    gc.freeze()  # as the command line's server does
    figures["import_cpu_seconds"] = time.process_time() - began
    figures["import_megabytes"] = (resident() - before) / 1e6
    dispatcher = Dispatcher(asyncio.get_running_loop())
    config = load_dict(cluster_of(policy), "envoy.config.cluster.v3.Cluster").message
    cluster = create_cluster(config, ClusterContext(dispatcher, RandomGenerator(1), Store()))
    ready = asyncio.Event()
    lag = Lag()
    watcher = asyncio.get_running_loop().create_task(lag.watch())
    began, before = time.process_time(), resident()
    cluster.initialize(ready.set)
    await ready.wait()
    assert len(cluster.hosts()) == SLICES * ENDPOINTS
    figures["sync_cpu_seconds"] = time.process_time() - began
    figures["sync_megabytes"] = (resident() - before) / 1e6
    figures["longest_turn_cpu_ms"], figures["longest_turn_wall_ms"] = lag.cpu * 1000, lag.wall * 1000
    watcher.cancel()
    await asyncio.sleep(0.5)
    updated = asyncio.Event()
    applied = 0.0

    def on_update(*_: object) -> None:
        nonlocal applied
        applied = time.process_time()
        updated.set()

    cluster.priority_set.add_member_update_callback(on_update)

    async def events(count: int) -> list[tuple[float, float]]:
        """CPU of each until it is applied, and until all that follows from it is done."""
        spent = []
        for _ in range(count):
            updated.clear()
            began = time.process_time()
            await next_event()
            await updated.wait()
            await asyncio.sleep(0.2)
            assert cluster.load_balancer.choose_host(None) is not None
            spent.append((applied - began, time.process_time() - began))
        return spent

    spent = await events(EVENTS)
    figures["event_cpu_ms"] = sorted(until for until, _ in spent)[EVENTS // 2] * 1000
    figures["event_whole_cpu_ms"] = sorted(whole for _, whole in spent)[EVENTS // 2] * 1000
    lag = Lag()
    watcher = asyncio.get_running_loop().create_task(lag.watch())
    await events(EVENTS // 2)
    figures["event_longest_turn_cpu_ms"] = lag.cpu * 1000
    watcher.cancel()
    cluster.stop()
    await dispatcher.stop()
    return figures


async def run(policy: str) -> dict[str, float]:
    """In this process, which is to be a new one."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.kubernetes",
        "--serve",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    commands = server.stdin

    async def next_event() -> None:
        commands.write(b"\n")
        await commands.drain()

    try:
        port = int(await server.stdout.readline())
        with tempfile.NamedTemporaryFile("w", suffix=".json") as kubeconfig:
            json.dump(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c"}}],
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                },
                kubeconfig,
            )
            kubeconfig.flush()
            os.environ["KUBECONFIG"] = kubeconfig.name
            return await measure(next_event, policy)
    finally:
        commands.close()
        await server.wait()


async def in_a_new_process(policy: str) -> dict[str, float]:
    command = (sys.executable, "-m", "bench.kubernetes", "--policy", policy, "--json")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    found: dict[str, dict[str, float]] = json.loads(out)
    return found[policy]


async def main() -> None:
    if "--every-policy" in sys.argv:
        figures = {policy: await in_a_new_process(policy) for policy in POLICIES}
    else:
        policy = sys.argv[sys.argv.index("--policy") + 1] if "--policy" in sys.argv else "LEAST_REQUEST"
        figures = {policy: await run(policy)}
    if "--json" in sys.argv:
        print(json.dumps(figures, indent=1))
        return
    print(f"following {SLICES * ENDPOINTS:,} endpoints in {SLICES:,} slices\n")
    print(" " * 28 + "".join(f"{policy:>14}" for policy in figures))
    for name in next(iter(figures.values())):
        values = "".join(f"{each[name]:14.2f}" for each in figures.values())
        print(f"  {name.replace('_', ' '):<26}{values}")


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else asyncio.run(main())
