"""The command line of `minienvoy fake-kube`: a Kubernetes API server in memory, until it is interrupted."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from . import ApiError, FakeKube

USAGE: Final = """\
USAGE: minienvoy fake-kube [--port <n>] [--kubeconfig <file>] [-f <file>]... [--start-delay <s>] [--end-delay <s>]
                           [--address <ip>]

A Kubernetes API server in memory, on 127.0.0.1, with the controllers that discovery needs. Whatever is put into it is
gone when it ends.

   --port <n>             Where to listen; a free port by default
   --kubeconfig <file>    Write what kubectl needs: kubectl --kubeconfig <file> get pods
   -f <file>              Objects to begin with (YAML, several documents)
   --start-delay <s>      Seconds until a pod is ready; default is 0.05
   --end-delay <s>        Seconds until a pod that is to end is gone; default is 1
   --address <ip>         The address of every pod of a Deployment, for upstreams on this machine; each pod has an
                          address of its own by default, which nothing answers
"""
_VALUES: Final = ("--port", "--kubeconfig", "-f", "--start-delay", "--end-delay", "--address")


class _UsageError(Exception):
    pass


def main(arguments: Sequence[str]) -> int:
    """Run `minienvoy fake-kube`; the exit code: 0 when it was told to end, 1 if it can not be started."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(USAGE)
        return 0
    try:
        values = _parse(arguments)
        kube = FakeKube(
            port=int(values["--port"][0]),
            start_delay=float(values["--start-delay"][0]),
            end_delay=float(values["--end-delay"][0]),
            pod_address=_always(values["--address"][0]) if values["--address"] else None,
        )
        manifests = [Path(file).read_text(encoding="utf-8") for file in values["-f"]]
        return asyncio.run(_serve(kube, manifests, values["--kubeconfig"]))
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"error: {missing.name} is not installed (pip install 'minienvoy[k8s]')\n")
    except (_UsageError, ValueError, OSError, KeyError) as error:
        sys.stderr.write(f"error: {error}\n{USAGE}")
    except ApiError as error:
        sys.stderr.write(f"error: {error.message}\n")
    return 1


def _always(address: str) -> Callable[[str, str], str]:
    return lambda namespace, name: address


def _parse(arguments: Sequence[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {name: [] for name in _VALUES}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in values:
            raise _UsageError(f"'{name}' is no flag")
        if not equals:
            if not rest:
                raise _UsageError(f"{name} wants a value")
            value = rest.pop(0)
        values[name].append(value)
    for name, default in (("--port", "0"), ("--start-delay", "0.05"), ("--end-delay", "1")):
        if not values[name]:
            values[name] = [default]
    return values


async def _serve(kube: FakeKube, manifests: Sequence[str], kubeconfigs: Sequence[str]) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stopped.set)
    async with kube:
        for manifest in manifests:
            kube.apply(manifest)
        for path in kubeconfigs:
            kube.kubeconfig(path)
        sys.stdout.write(f"listening on {kube.url}\n")
        sys.stdout.flush()
        await stopped.wait()
    return 0
