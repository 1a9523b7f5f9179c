"""The command line of `minienvoy xds-server`: an xDS server for real Envoys, until it is interrupted."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from ..kubernetes.command import parse_flags, parse_settings, run_command, serve_until_told

USAGE: Final = """\
USAGE: minienvoy xds-server [--host <ip>] [--port <n>] [-c <file>] [--kubernetes <yaml>] [--no-kubernetes]
                            [-l <level>]

Serves endpoints that Kubernetes tells, and whatever a file has, over xDS: ADS and one service for each type, state of
the world and incremental. Endpoints are asked for as namespace/service:port (the cluster's service_name); they are
followed while somebody asks for them.

   --host <ip>            Where to listen; default is 127.0.0.1
   --port <n>             Default is 18000; 0 for a free one
   -c <file>              A DiscoveryResponse (YAML or JSON) with listeners, routes, clusters, ...; read again when it
                          changes
   --kubernetes <yaml>    Settings as in docs/kubernetes.md, e.g. '{kubeconfig: ..., context: ...}'
   --no-kubernetes        Serve the file only
   -l <level>             Of the log; default is info
"""
_DEFAULTS: Final = {"--host": "127.0.0.1", "--port": "18000", "-c": "", "--kubernetes": "{}", "-l": "info"}


def main(arguments: Sequence[str]) -> int:
    """Run `minienvoy xds-server`."""
    return run_command(arguments, USAGE, lambda: _serve(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    given = [each for each in arguments if each != "--no-kubernetes"]
    values = parse_flags(given, _DEFAULTS, ("--port",))
    if len(given) != len(arguments):
        values["--kubernetes"] = ""
    return values


async def _serve(values: Mapping[str, str]) -> None:
    from .server import XdsServer

    settings = parse_settings(values["--kubernetes"]) if values["--kubernetes"] else None
    server = XdsServer(host=values["--host"], port=int(values["--port"]), file=values["-c"], kubernetes=settings)

    def told() -> None:
        sys.stdout.write(f"listening on {values['--host']}:{server.port}\n")
        sys.stdout.flush()

    await serve_until_told(server, values["-l"], told)
