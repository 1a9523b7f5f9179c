"""`minienvoy` as a process of its own: from the command line to the exit code."""

from __future__ import annotations

import re
import signal
from asyncio.subprocess import Process

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
        "stat_prefix: ingress", "stat_prefix: ingress\n          tracing: {}\n          proxy_100_continue: true"
    )
    bootstrap.write_text(filters)
    async with command("--mode", "validate", "-c", str(bootstrap), "--log-format", "%v") as process:
        code, lines = await ended(process)
    assert code == 1
    (tracing,) = [line for line in lines if "tracing" in line]
    assert tracing.strip().startswith(f"{bootstrap}:13:")
