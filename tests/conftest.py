"""What tests of every kind share."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from minienvoy.extensions import register_catalogue

register_catalogue()  # as whoever makes a server does

# How long an example takes is a matter of what else the machine does; and what fails once has to fail again.
settings.register_profile("minienvoy", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("minienvoy")

ROOT = Path(__file__).parent.parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several workers, each takes a test at a time, or all cases of a group of conformance scenarios."""
    from xdist.scheduler import LoadScopeScheduling

    from .conformance import judge

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            case = re.search(r"test_case_is_answered_as_envoy_answers_it\[(\w+)/", nodeid)
            return f"conformance {judge.group(case[1])}" if case else nodeid

    return Scheduling(config, log)


@dataclass
class Response:
    """An HTTP/1.1 response as it came over the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The only header of this name."""
        (value,) = [value for given, value in self.headers if given == name]
        return value

    def __contains__(self, name: str) -> bool:
        return any(given == name for given, _ in self.headers)


Fetch = Callable[..., Awaitable[Response]]


@pytest.fixture
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture
def envoy_binary() -> str:
    """Envoy itself; without it (a development dependency) the test is skipped."""
    binary = shutil.which("envoy", path=sysconfig.get_path("scripts")) or shutil.which("envoy")
    if binary is None:
        pytest.skip("Envoy's binary is not installed here")
    return binary


@pytest.fixture
def envoy(envoy_binary: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`envoy("--version")` runs Envoy itself."""

    def envoy(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([envoy_binary, *arguments], capture_output=True, text=True, timeout=30, check=False)

    return envoy


@pytest.fixture
def fetch() -> Fetch:
    """`await fetch("http://127.0.0.1:1234/path", headers=[...])`: one request on a connection of its own."""

    async def fetch(
        url: str, method: str = "GET", headers: Iterable[tuple[str, str]] = (), body: bytes = b"", host: str = ""
    ) -> Response:
        authority, slash, path = url.removeprefix("http://").partition("/")
        address, _, port = authority.rpartition(":")
        lines = [f"{method} {slash or '/'}{path} HTTP/1.1", f"host: {host or authority}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"content-length: {len(body)}")
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(address.strip("[]"), int(port))
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
                return await _read_response(reader, method)
            finally:
                writer.close()
                await writer.wait_closed()

    return fetch


async def _read_response(reader: asyncio.StreamReader, method: str) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    response = Response(int(status_line.split(" ")[1]), headers, b"")
    if method == "HEAD" or response.status in (204, 304):
        return response
    if "transfer-encoding" in response:
        while size := int(await reader.readline(), 16):
            response.body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    elif "content-length" in response:
        response.body = await reader.readexactly(int(response["content-length"]))
    else:
        response.body = await reader.read()
    return response
