"""Asks Envoy what it makes of the requests in `envoy_cases.py` and writes it down beside this file.

Run it as `python -m tests.unit.http.record_envoy_answers` where Envoy's binary is installed.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from minienvoy.extensions.filters.network.http_connection_manager import CONFIG_TYPE
from minienvoy.network.local_address import local_address
from tests.unit.http.envoy_cases import TOPICS, Case
from tests.unit.http_bench import connection_manager

RECORDED = Path(__file__).parent / "recorded"
_ANY_PORT = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def comparable(head: bytes) -> str:
    """The head of a message without what depends on time, chance and the machine."""
    text = head.decode("latin-1")
    for pattern, replacement in (
        (r"(?m)^date: [^\r\n]*", "date: D"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
        (r"upstream-service-time: \d+", "upstream-service-time: N"),
        (r"(x-forwarded-port: )(?!99)\d+", r"\1P"),
    ):
        text = re.sub(pattern, replacement, text)
    return text.replace("\r\n", "\n").rstrip("\n")


@asynccontextmanager
async def envoy(cases: list[Case], upstream: int) -> AsyncIterator[dict[str, int]]:
    """Name of a listener, `l0` for the first case, to its port."""
    listeners = []
    for number, case in enumerate(cases):
        options = {name: case.options.get(name) for name in ("routes", "hcm", "route_config")}
        manager = {"@type": f"type.googleapis.com/{CONFIG_TYPE}", **connection_manager(**options)}
        filters = [{"name": "http", "typed_config": manager}]
        listeners.append({"name": f"l{number}", "address": _ANY_PORT, "filter_chains": [{"filters": filters}]})
    address = {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    bootstrap = {
        "admin": {"address": _ANY_PORT},
        "node": {"id": "node", "cluster": "service"},
        "static_resources": {
            "listeners": listeners,
            "clusters": [{"name": "a", "load_assignment": {"cluster_name": "a", "endpoints": endpoints}}],
        },
    }
    binary = shutil.which("envoy", path=sysconfig.get_path("scripts")) or "envoy"
    with tempfile.TemporaryDirectory() as folder:
        admin = Path(folder, "admin")
        command = [binary, "-c", _written(Path(folder, "envoy.json"), bootstrap), "--admin-address-path", str(admin)]
        command += ["--concurrency", "1", "-l", "error"]
        process = subprocess.Popen([*command, "--use-dynamic-base-id"])  # noqa: ASYNC220
        try:
            ports: dict[str, int] = {}
            async with asyncio.timeout(30):
                while len(ports) < len(cases):
                    await asyncio.sleep(0.2)
                    listing = await _ask(admin)
                    if listing:
                        ports = {name: int(port) for name, port in re.findall(r"(l\d+)::127\.0\.0\.1:(\d+)", listing)}
            yield ports
        finally:
            process.terminate()
            process.wait()


def _written(path: Path, bootstrap: Any) -> str:
    path.write_text(json.dumps(bootstrap))
    return str(path)


def _address(path: Path) -> tuple[str, str]:
    host, _, port = (path.read_text() if path.exists() else "").rpartition(":")
    return host, port


async def _ask(admin: Path) -> str:
    """The listeners; empty while there is nobody to ask."""
    host, port = _address(admin)
    if not port:
        return ""
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except ConnectionError:
        return ""
    writer.write(b"GET /listeners HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    try:
        return (await reader.read()).decode()
    except ConnectionError:
        return ""
    finally:
        writer.close()


async def record(cases: list[Case]) -> dict[str, Any]:
    """Name of a case to what the client and what the upstream received."""
    requests: list[bytes] = []
    serving: set[Any] = set()
    response = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(response)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    answers: dict[str, Any] = {}
    here = local_address()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        async with envoy(cases, server.sockets[0].getsockname()[1]) as ports:
            for number, case in enumerate(cases):
                requests.clear()
                response = case.response
                reader, writer = await asyncio.open_connection("127.0.0.1", ports[f"l{number}"])
                writer.write(case.request)
                async with asyncio.timeout(10):
                    head = await reader.readuntil(b"\r\n\r\n")
                writer.close()
                answers[case.name] = [comparable(each).replace(here, "192.0.2.2") for each in (head, *requests[:1])]
        await asyncio.gather(*serving, return_exceptions=True)
    return answers


def main() -> None:
    RECORDED.mkdir(exist_ok=True)
    for topic, cases in TOPICS.items():
        answers = asyncio.run(record(cases()))
        (RECORDED / f"{topic}.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
