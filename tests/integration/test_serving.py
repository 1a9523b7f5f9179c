"""`minienvoy` as a process of its own: from the command line to the exit code."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
from asyncio.subprocess import Process
from pathlib import Path

import pytest

pytestmark = pytest.mark.asyncio

PLACE = re.compile(r"^(\[[^]]*\])+ \[[^]]*\] ")
"""What Envoy's format has before the message."""

BOOTSTRAP = """\
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                direct_response: {status: 200, body: {inline_string: served}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"""


@pytest.fixture
def bootstrap(tmp_path):
    (tmp_path / "envoy.yaml").write_text(BOOTSTRAP)
    return tmp_path / "envoy.yaml"


async def listening(process: Process, path) -> str:
    """Wait until the server is up; the address of its admin interface."""
    assert process.stderr is not None
    async for line in process.stderr:
        if b"starting workers" in line:
            break
    return path.read_text()


async def ended(process: Process) -> tuple[int, list[str]]:
    """The exit code, and what was logged until then, without time and place."""
    out, err = await process.communicate()
    assert out == b""
    return process.returncode, [PLACE.sub("", line) for line in err.decode().splitlines()]


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "ENVOY_SIGTERM"), (signal.SIGINT, "SIGINT")])
async def test_a_signal_ends_it_gracefully(command, bootstrap, tmp_path, number, name):
    path = tmp_path / "admin"
    async with command("-c", str(bootstrap), "--admin-address-path", str(path)) as process:
        await listening(process, path)
        process.send_signal(number)
        code, lines = await ended(process)
    assert code == 0
    assert lines == [f"caught {name}", "shutting down server instance", "main dispatch loop exited", "exiting"]


async def test_it_serves_until_it_is_told_to_quit(command, bootstrap, tmp_path, fetch):
    path = tmp_path / "admin"
    async with command("-c", str(bootstrap), "--admin-address-path", str(path)) as process:
        admin = f"http://{await listening(process, path)}"
        listeners = (await fetch(f"{admin}/listeners")).body.decode()
        address = listeners.strip().removeprefix("http::")
        assert (await fetch(f"http://{address}/")).body == b"served"
        assert (await fetch(f"{admin}/quitquitquit", "POST")).body == b"OK\n"
        code, _ = await ended(process)
    assert code == 0


async def test_a_container_can_ask_whether_it_is_ready(command, bootstrap, tmp_path):
    path = tmp_path / "admin"
    async with command("-c", str(bootstrap), "--admin-address-path", str(path)) as process:
        await listening(process, path)
        async with command("healthcheck", "--admin-address-path", str(path)) as check:
            assert await check.communicate() == (b"LIVE\n", b"")
            assert check.returncode == 0


async def test_what_only_a_restart_would_change_is_shrugged_off(command, bootstrap, tmp_path):
    path = tmp_path / "admin"
    async with command("-c", str(bootstrap), "--admin-address-path", str(path)) as process:
        await listening(process, path)
        process.send_signal(signal.SIGHUP)
        assert b"caught and eating SIGHUP" in await process.stderr.readline()
        process.send_signal(signal.SIGUSR1)
        assert b"caught SIGUSR1. Reopening access logs." in await process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0


async def test_a_file_that_is_not_there_is_exit_code_1(command):
    async with command("-c", "nope.yaml") as process:
        code, _ = await ended(process)
    assert code == 1


async def test_validating_says_ok(command, bootstrap):
    async with command("--mode", "validate", "-c", str(bootstrap), "-l", "warning") as process:
        assert await process.communicate() == (f"configuration '{bootstrap}' OK\n".encode(), b"")
    assert process.returncode == 0


async def test_validating_says_what_is_wrong(command, bootstrap):
    bootstrap.write_text(BOOTSTRAP.replace("domains:", "domain:"))
    async with command("--mode", "validate", "-c", str(bootstrap)) as process:
        code, lines = await ended(process)
    assert code == 1
    assert lines[-1].startswith(f"error initializing configuration '{bootstrap}': ")
    assert "no such field: 'domain'" in lines[-1]


async def test_everything_that_is_not_honoured_is_told_at_once(command, bootstrap):
    filters = BOOTSTRAP.replace(
        "stat_prefix: ingress",
        "stat_prefix: ingress\n          http3_protocol_options: {}\n          proxy_100_continue: true",
    )
    bootstrap.write_text(filters)
    async with command("--mode", "validate", "-c", str(bootstrap), "--log-format", "%v") as process:
        code, lines = await ended(process)
    assert code == 1
    (refused,) = [line for line in lines if "http3_protocol_options" in line]
    assert refused.strip().startswith(f"{bootstrap}:13:")


async def test_an_address_that_is_taken_is_exit_code_1(command, bootstrap):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bootstrap.write_text(BOOTSTRAP.replace("port_value: 0", f"port_value: {port}").replace(f"{port}", "0", 1))
        async with command("-c", str(bootstrap)) as process:
            code, lines = await ended(process)
    assert code == 1
    assert f"cannot bind '127.0.0.1:{port}': Address already in use" in lines[-1]


async def test_an_access_log_that_was_moved_away_is_opened_again(command, bootstrap, tmp_path, fetch):
    log, moved, path = tmp_path / "access.log", tmp_path / "access.log.1", tmp_path / "admin"
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    sink = f"""[{{name: file, typed_config: {{"@type": {kind}, path: "{log}"}}}}]"""
    text = BOOTSTRAP.replace("stat_prefix: ingress", f"stat_prefix: ingress\n          access_log: {sink}")
    bootstrap.write_text(text)
    arguments = ("-c", str(bootstrap), "--admin-address-path", str(path), "--file-flush-interval-msec", "10")
    async with command(*arguments) as process:
        admin = await listening(process, path)
        address = (await fetch(f"http://{admin}/listeners")).body.decode().strip().removeprefix("http::")
        await fetch(f"http://{address}/first")
        await wait_for(lambda: "/first" in log.read_text())
        log.rename(moved)
        process.send_signal(signal.SIGUSR1)
        assert b"Reopening access logs" in await process.stderr.readline()
        await fetch(f"http://{address}/second")
        await wait_for(lambda: log.exists() and "/second" in log.read_text())
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0
    assert moved.read_text().count("\n") == 1


async def test_without_file_descriptors_it_neither_dies_nor_spins(command, bootstrap, tmp_path, fetch):
    """64 descriptors, 150 clients: those that got in are served, the rest wait, and afterwards everybody is."""
    path = tmp_path / "admin"

    def few_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    arguments = ("-c", str(bootstrap), "--admin-address-path", str(path), "-l", "warning")
    async with command(*arguments, preexec_fn=few_descriptors) as process:
        await wait_for(lambda: path.exists() and path.read_text())
        listeners = (await fetch(f"http://{path.read_text()}/listeners")).body.decode()
        host, _, port = listeners.strip().removeprefix("http::").rpartition(":")
        clients = [await asyncio.open_connection(host, int(port)) for _ in range(150)]
        before = cpu_seconds(process.pid)
        await asyncio.sleep(1.0)
        assert cpu_seconds(process.pid) - before < 0.3
        assert process.returncode is None
        for _, writer in clients:
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        answers = [asyncio.ensure_future(reader.readuntil(b"served")) for reader, _ in clients]
        await wait_for(lambda: sum(answer.done() for answer in answers) > 20)
        await asyncio.sleep(0.2)  # nobody else is served for as long as these stay
        assert 20 < sum(answer.done() for answer in answers) < 64
        for answer in answers:
            answer.cancel()
        for _, writer in clients:
            writer.close()
        for _ in range(3):
            assert (await fetch(f"http://{host}:{port}/")).body == b"served"
        process.send_signal(signal.SIGTERM)
        code, lines = await ended(process)
    assert code == 0
    assert 0 < sum("accept failed" in line for line in lines) < 60


async def wait_for(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
