"""The command line of `minienvoy xds-server`: an xDS server for real Envoys, until it is interrupted."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ... import logger
from ...errors import MinienvoyError

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
_VALUES: Final = ("--host", "--port", "-c", "--kubernetes", "-l")


class _UsageError(Exception):
    pass


def main(arguments: Sequence[str]) -> int:
    """Run `minienvoy xds-server`; the exit code: 0 when it was told to end, 1 if it can not be started."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(USAGE)
        return 0
    try:
        values = _parse(arguments)
        return asyncio.run(_serve(values))
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"error: {missing.name} is not installed (pip install 'minienvoy[k8s]')\n")
    except _UsageError as error:
        sys.stderr.write(f"error: {error}\n{USAGE}")
    except (MinienvoyError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
    return 1


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    values = {"--host": "127.0.0.1", "--port": "18000", "-c": "", "--kubernetes": "{}", "-l": "info"}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name == "--no-kubernetes":
            values["--kubernetes"] = ""
            continue
        if name not in _VALUES:
            raise _UsageError(f"'{name}' is no flag")
        if not equals:
            if not rest:
                raise _UsageError(f"{name} wants a value")
            value = rest.pop(0)
        values[name] = value
    if logger.find_level(values["-l"]) is None:
        raise _UsageError(f"-l: '{values['-l']}' is no level")
    if not values["--port"].isdigit():
        raise _UsageError(f"--port: '{values['--port']}' is no number")
    return values


def _settings(text: str) -> Mapping[str, Any]:
    import yaml

    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _UsageError(f"--kubernetes: {error}") from None
    if not isinstance(settings, dict):
        raise _UsageError("--kubernetes: settings are a mapping, e.g. '{context: kind-kind}'")
    return settings


async def _serve(values: Mapping[str, str]) -> int:
    from .server import XdsServer

    logger.set_level(logger.find_level(values["-l"]) or logger.INFO)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stopped.set)
    settings = _settings(values["--kubernetes"]) if values["--kubernetes"] else None
    async with XdsServer(
        host=values["--host"], port=int(values["--port"]), file=values["-c"], kubernetes=settings
    ) as server:
        sys.stdout.write(f"listening on {values['--host']}:{server.port}\n")
        sys.stdout.flush()
        await stopped.wait()
    return 0
