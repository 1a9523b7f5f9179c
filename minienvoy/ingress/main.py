"""The command line of `minienvoy kubernetes`: Ingress and Gateway API objects are the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..discovery.kubernetes.command import CommandError, parse_flags, parse_settings, run_command, serve_until_told

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


def main(arguments: Sequence[str]) -> int:
    """Run `minienvoy kubernetes`."""
    return run_command(arguments, USAGE, lambda: _serve(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    values = parse_flags(arguments, _DEFAULTS, ("--http-port", "--https-port", "--port-offset"))
    if not values["--ingress-class"] and not values["--gateway-class"]:
        raise CommandError("--ingress-class or --gateway-class is needed")
    if values["--admin"] and not values["--admin"].rpartition(":")[2].isdigit():
        raise CommandError(f"--admin: '{values['--admin']}' is not host:port")
    return values


async def _serve(values: Mapping[str, str]) -> None:
    from ..discovery.kubernetes.api_client import check_installed
    from .controller import IngressController, IngressSettings

    check_installed("kubernetes")
    settings = IngressSettings(
        ingress_class=values["--ingress-class"],
        gateway_class=values["--gateway-class"],
        namespace=values["--namespace"],
        address=values["--address"],
        http_port=int(values["--http-port"]),
        https_port=int(values["--https-port"]),
        port_offset=int(values["--port-offset"]),
        admin=values["--admin"],
        kubernetes=parse_settings(values["--kubernetes"]),
    )
    await serve_until_told(IngressController(settings), values["-l"], lambda: None)
