"""Connections that iptables redirects, in a network namespace of their own.

The first test needs to be root on Linux with `unshare`, `ip` and `iptables`; where it may not, it is skipped.
The same file is the script that runs inside the namespace.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from minienvoy import Proxy

CONFIG = """
static_resources:
  listeners:
  - name: redirected
    address: {socket_address: {address: ANY, port_value: 15001}}
    listener_filters:
    - name: envoy.filters.listener.original_dst
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: wherever
  clusters:
  - name: wherever
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
"""
NETWORKS = {
    "4": ("iptables", "10.77.0.1", "10.77.0.2", "0.0.0.0", 32),
    "6": ("ip6tables", "fd77::1", "fd77::2", '"::"', 128),
}
"""The tool, where the server is, where the client calls from, any address, bits of one address."""


def in_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["unshare", "-n", *command], capture_output=True, text=True, timeout=60, check=False)


def permitted(tool: str) -> bool:
    if any(shutil.which(each) is None for each in ("unshare", "ip", tool)):
        return False
    return in_namespace(tool, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT").returncode == 0


@pytest.mark.parametrize("version", ["4", "6"])
def test_a_redirected_connection_reaches_where_it_was_going(version: str) -> None:
    if not permitted(NETWORKS[version][0]):
        pytest.skip("network namespaces and iptables are not permitted here")
    done = in_namespace(sys.executable, str(Path(__file__)), version)
    assert done.returncode == 0, done.stderr
    server = NETWORKS[version][1]
    assert json.loads(done.stdout) == {"answer": f"you called {server}", "hosts": 1}


def prepare(version: str) -> None:
    """The namespace is new: give it addresses, and redirect what comes from the client's."""
    tool, server, client, _, bits = NETWORKS[version]
    for command in (
        "ip link set lo up",
        f"ip addr add {server}/{bits} dev lo",
        f"ip addr add {client}/{bits} dev lo",
        f"{tool} -t nat -A OUTPUT -p tcp -s {client} --dport 80 -j REDIRECT --to-ports 15001",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)


async def main(version: str) -> None:
    _, server, client, anywhere, _ = NETWORKS[version]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"you called " + writer.get_extra_info("sockname")[0].encode())
        writer.close()

    listening = await asyncio.start_server(serve, server, 80)
    async with listening, Proxy.from_yaml(CONFIG.replace("ANY", anywhere), ports="as_configured") as proxy:
        reader, writer = await asyncio.open_connection(server, 80, local_addr=(client, 0))
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        hosts = proxy.stats["cluster.wherever.membership_total"]
    sys.stdout.write(json.dumps({"answer": answer.decode(), "hosts": hosts}))


def test_a_socket_that_was_not_redirected_has_no_original_destination() -> None:
    from minienvoy.extensions.filters.listener.original_dst import original_dst
    from minienvoy.network.address import Address

    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        accepted, _ = server.accept()
        with accepted:
            assert original_dst(accepted, Address("127.0.0.1", 1)) is None


if __name__ == "__main__":
    prepare(sys.argv[1])
    asyncio.run(main(sys.argv[1]))
