"""What a configuration asks for and is not there: told by the command, all at once, or left out if that is allowed."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from minienvoy import Proxy
from minienvoy.errors import ConfigError

pytestmark = pytest.mark.asyncio

MANAGER = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config"

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
          http3_protocol_options: {}
          route_config:
            vhds: {config_source: {ads: {}}}
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                direct_response: {status: 200, body: {inline_string: served}}
          http_filters:
          - name: wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    enable_mptcp: true
  clusters:
  - name: nobody
    alt_stat_name: somebody
"""

TOLD = [
    (15, 13, f"{MANAGER}.route_config.vhds", "not supported"),
    (
        24,
        13,
        f"{MANAGER}.http_filters[0].typed_config",
        "no extension of minienvoy takes envoy.extensions.filters.http.wasm.v3.Wasm: Didn't find a registered "
        "implementation for 'wasm' with type URL: 'envoy.extensions.filters.http.wasm.v3.Wasm'",
    ),
    (13, 11, f"{MANAGER}.http3_protocol_options", "not supported"),
    (29, 5, "static_resources.listeners[0].enable_mptcp", "true is not supported, only false"),
]
"""Line, column, path and reason of everything in it that is not honoured, in the order of the API's fields."""


@pytest.fixture
def bootstrap(tmp_path) -> Path:
    path = tmp_path / "envoy.yaml"
    path.write_text(BOOTSTRAP)
    return path


@pytest.fixture
def command(root):
    @asynccontextmanager
    async def run(*arguments: str) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "minienvoy", *arguments, "--log-format", "%l %v"),
            cwd=root,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            async with asyncio.timeout(30):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    return run


def told(bootstrap: Path) -> list[str]:
    return [f"{bootstrap}:{line}:{column}: {path}: {reason}" for line, column, path, reason in TOLD]


async def test_validating_tells_everything_at_once(command, bootstrap):
    async with command("-c", str(bootstrap), "--mode", "validate") as process:
        out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err.decode().splitlines() == [
        f"critical error initializing configuration '{bootstrap}': 4 fields are set that minienvoy does not honour:",
        *(f"critical   {line}" for line in told(bootstrap)),
        "critical  (docs/supported.md lists what is honoured; --unsupported warn starts without them)",
    ]


async def test_serving_is_refused_in_envoys_words(command, bootstrap):
    async with command("-c", str(bootstrap)) as process:
        _, err = await process.communicate()
    lines = err.decode().splitlines()
    assert process.returncode == 1
    first = lines.index("critical error `4 fields are set that minienvoy does not honour:")
    assert lines[first + 1 : first + 5] == [f"critical   {line}" for line in told(bootstrap)]
    assert lines[first + 5].endswith(f"` initializing config '{bootstrap}'")
    assert lines[first + 6] == "info exiting"


async def test_unknown_fields_are_told_with_what_was_probably_meant(command, bootstrap):
    bootstrap.write_text(BOOTSTRAP.replace("alt_stat_name", "alt_stat_nam").replace("stat_prefix", "stat_prefx"))
    async with command("-c", str(bootstrap), "--mode", "validate") as process:
        _, err = await process.communicate()
    assert process.returncode == 1
    text = err.decode()
    assert f"{bootstrap}:12:11: " in text
    assert "did you mean 'stat_prefix'?" in text
    assert f"{bootstrap}:32:5: " in text
    assert "did you mean 'alt_stat_name'?" in text


async def test_with_permission_it_starts_without_them_and_says_so(command, bootstrap, tmp_path, fetch):
    address = tmp_path / "admin"
    arguments = ("-c", str(bootstrap), "--unsupported", "warn", "--admin-address-path", str(address))
    async with command(*arguments) as process:
        lines = []
        async for line in process.stderr:
            lines.append(line.decode().rstrip("\n"))
            if "starting workers" in lines[-1]:
                break
        admin = f"http://{address.read_text()}"
        listed = json.loads((await fetch(f"{admin}/minienvoy/unsupported")).body)
        listener = (await fetch(f"{admin}/listeners")).body.decode().strip().removeprefix("http::")
        answer = await fetch(f"http://{listener}/")
        await fetch(f"{admin}/quitquitquit", "POST")
        assert await process.wait() == 0
    assert [line for line in lines if line.startswith("warning not")] == [
        f"warning not honoured: {line}" for line in told(bootstrap)
    ]
    assert listed == {"unsupported": [{"path": path, "reason": reason} for _, _, path, reason in TOLD]}
    assert (answer.status, answer.body) == (200, b"served")


async def test_a_transport_socket_that_is_not_there_is_never_left_out(command, bootstrap):
    tap = "type.googleapis.com/envoy.extensions.transport_sockets.tap.v3.Tap"
    socket = f'      transport_socket: {{name: tap, typed_config: {{"@type": {tap}}}}}'
    bootstrap.write_text(BOOTSTRAP.replace("    enable_mptcp: true", socket))
    async with command("-c", str(bootstrap), "--unsupported", "warn") as process:
        _, err = await process.communicate()
    assert process.returncode == 1
    assert re.search(rf"critical error `{re.escape(str(bootstrap))}:29:\d+: .*transport_socket", err.decode())


async def test_an_embedded_proxy_refuses_or_leaves_out_alike(bootstrap, fetch):
    with pytest.raises(ConfigError, match="4 fields are set that minienvoy does not honour"):
        async with Proxy.from_yaml(bootstrap):
            pass
    async with Proxy.from_yaml(bootstrap, unsupported="warn") as proxy:
        assert (await fetch(proxy.url("http"))).body == b"served"
        assert [item.path for item in proxy.server.unsupported] == [path for _, _, path, _ in TOLD]


@pytest.mark.parametrize(
    ("old", "new", "place", "problem"),
    [
        (
            "direct_response: {status: 200, body: {inline_string: served}}",
            "route: {cluster: gone}",
            "21:25",
            "route: unknown cluster 'gone'",
        ),
        ('domains: ["*"]', 'domains: ["*", "*"]', "18:30", "Only a single wildcard domain is permitted"),
        (
            "stat_prefix: ingress",
            "stat_prefix: ingress\n          access_log: [{name: x}]",
            "13:24",
            "an access log needs a typed_config",
        ),
    ],
)
async def test_errors_inside_a_filter_have_their_place_in_the_file(bootstrap, old, new, place, problem):
    bootstrap.write_text(BOOTSTRAP.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        async with Proxy.from_yaml(bootstrap, unsupported="warn"):
            pass
    assert str(refused.value).startswith(f"{bootstrap}:{place}: {MANAGER}.")
    assert problem in str(refused.value)


async def test_the_bootstrap_may_format_the_log(root, bootstrap):
    bootstrap.write_text(
        "application_log_config: {log_format: {json_format: {level: '%l', text: '%j'}}}\n"
        "static_resources: {clusters: [{name: a, lb_policy: ROUND_ROBIN}]}\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "minienvoy", "-c", str(bootstrap), "--mode", "init_only"), cwd=root, stderr=PIPE
    )
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert process.returncode == 0
    assert json.loads(err.splitlines()[-1]) == {"level": "info", "text": "exiting"}


async def test_the_bootstrap_and_the_command_line_may_not_both_format_the_log(command, bootstrap):
    bootstrap.write_text("application_log_config: {log_format: {text_format: '%v'}}\n")
    async with command("-c", str(bootstrap), "--mode", "validate") as process:
        _, err = await process.communicate()
    assert process.returncode == 1
    assert "Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified." in err.decode()
