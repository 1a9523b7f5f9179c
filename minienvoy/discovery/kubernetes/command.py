"""What the command lines of the commands about Kubernetes have in common.

No Envoy counterpart. Flags have values, after a blank or an equals sign; `-l` and `--kubernetes` mean the same
everywhere, and a command serves until it is told to end.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from ... import logger
from ...errors import MinienvoyError


class CommandError(Exception):
    """What was written is no such command."""


def run_command(arguments: Sequence[str], usage: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """The exit code: 0 when it was told to end, 1 if it can not be started."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(usage)
        return 0
    try:
        asyncio.run(serve())
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"error: {missing.name} is not installed (pip install 'minienvoy[k8s]')\n")
    except CommandError as error:
        sys.stderr.write(f"error: {error}\n{usage}")
    except (MinienvoyError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
    else:
        return 0
    return 1


def parse_flags(arguments: Sequence[str], defaults: Mapping[str, str], numbers: Sequence[str]) -> dict[str, str]:
    """`defaults` by flag; `numbers` are those that must be some. Raises CommandError."""
    values = dict(defaults)
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in values:
            raise CommandError(f"'{name}' is no flag")
        if not equals:
            if not rest:
                raise CommandError(f"{name} wants a value")
            value = rest.pop(0)
        values[name] = value
    for name in numbers:
        if not values[name].isdigit():
            raise CommandError(f"{name}: '{values[name]}' is no number")
    if logger.find_level(values["-l"]) is None:
        raise CommandError(f"-l: '{values['-l']}' is no level")
    return values


def parse_settings(text: str) -> Mapping[str, Any]:
    """Of `--kubernetes`. Raises CommandError."""
    import yaml

    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CommandError(f"--kubernetes: {error}") from None
    if not isinstance(settings, dict):
        raise CommandError("--kubernetes: settings are a mapping, e.g. '{context: kind-kind}'")
    return settings


async def serve_until_told(server: AbstractAsyncContextManager[Any], level: str, on_start: Callable[[], None]) -> None:
    """Until SIGINT or SIGTERM."""
    logger.set_level(logger.find_level(level) or logger.INFO)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stopped.set)
    async with server:
        on_start()
        await stopped.wait()
