"""The command line of `minienvoy kubernetes`: Ingress and Gateway API objects are the configuration."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .. import logger
from ..errors import MinienvoyError

USAGE: Final = """\
USAGE: minienvoy kubernetes [--ingress-class <name>] [--gateway-class <name>] [--namespace <name>]
                            [--address <ip>] [--http-port <n>] [--https-port <n>] [--port-offset <n>]
                            [--admin <host:port>] [--kubernetes <yaml>] [-l <level>]

Serves what Ingresses, or Gateways with their HTTPRoutes and GRPCRoutes, say, and follows their changes. What of an
object is not done is in the log.

   --ingress-class <name> Whose Ingresses count
   --gateway-class <name> Whose Gateways count; at least one of the two is needed
   --namespace <name>     The only one that is looked at; all by default
   --address <ip>         Where to listen; default is 127.0.0.1
   --http-port <n>        Of Ingresses; default is 8080
   --https-port <n>       Of Ingresses with spec.tls; default is 8443
   --port-offset <n>      Added to the ports of Gateways, e.g. 8000 for 80 to be 8080; default is 0
   --admin <host:port>    The admin interface; none by default
   --kubernetes <yaml>    Settings as in docs/kubernetes.md, e.g. '{kubeconfig: ..., context: ...}'
   -l <level>             Of the log; default is info
"""
_DEFAULTS: Final = {
    "--ingress-class": "",
    "--gateway-class": "",
    "--namespace": "",
    "--address": "127.0.0.1",
    "--http-port": "8080",
    "--https-port": "8443",
    "--port-offset": "0",
    "--admin": "",
    "--kubernetes": "{}",
    "-l": "info",
}


class _UsageError(Exception):
    pass


def main(arguments: Sequence[str]) -> int:
    """Run `minienvoy kubernetes`; the exit code: 0 when it was told to end, 1 if it can not be started."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(USAGE)
        return 0
    try:
        return asyncio.run(_serve(_parse(arguments)))
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"error: {missing.name} is not installed (pip install 'minienvoy[k8s]')\n")
    except _UsageError as error:
        sys.stderr.write(f"error: {error}\n{USAGE}")
    except (MinienvoyError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
    return 1


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = dict(_DEFAULTS)
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in values:
            raise _UsageError(f"'{name}' is no flag")
        if not equals:
            if not rest:
                raise _UsageError(f"{name} wants a value")
            value = rest.pop(0)
        values[name] = value
    if not values["--ingress-class"] and not values["--gateway-class"]:
        raise _UsageError("--ingress-class or --gateway-class is needed")
    for name in ("--http-port", "--https-port", "--port-offset"):
        if not values[name].isdigit():
            raise _UsageError(f"{name}: '{values[name]}' is no number")
    if values["--admin"] and not values["--admin"].rpartition(":")[2].isdigit():
        raise _UsageError(f"--admin: '{values['--admin']}' is not host:port")
    if logger.find_level(values["-l"]) is None:
        raise _UsageError(f"-l: '{values['-l']}' is no level")
    values["--kubernetes"] = _settings(values["--kubernetes"])
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


async def _serve(values: Mapping[str, Any]) -> int:
    from ..discovery.kubernetes.api_client import check_installed
    from .controller import IngressController, IngressSettings

    check_installed("kubernetes")
    logger.set_level(logger.find_level(values["-l"]) or logger.INFO)
    settings = IngressSettings(
        ingress_class=values["--ingress-class"],
        gateway_class=values["--gateway-class"],
        namespace=values["--namespace"],
        address=values["--address"],
        http_port=int(values["--http-port"]),
        https_port=int(values["--https-port"]),
        port_offset=int(values["--port-offset"]),
        admin=values["--admin"],
        kubernetes=values["--kubernetes"],
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stopped.set)
    async with IngressController(settings):
        await stopped.wait()
    return 0
