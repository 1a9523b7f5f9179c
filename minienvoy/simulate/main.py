"""The command line of `minienvoy simulate`.

No Envoy counterpart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import MinienvoyError

USAGE: Final = """\
USAGE: minienvoy simulate -c <file> [--cluster <name>] [--requests <n>] [--rate <n>] [--service-time-ms <n>]
                          [--keys <n>] [--seed <n>] [--match <key=value>]... [--event <event>]... [--events <file>]
                          [--format text|json]

Sends requests over the configuration of a cluster, in simulated time and without a socket, and tells which share each
host has. Names are not looked up: each stands for one host.

   -c <file>, --config-path <file>
     The bootstrap that has the cluster

   --cluster <name>
     Need not be said if there is only one

   --requests <n>         Default is 10000
   --rate <n>             Requests per second; default is 100
   --service-time-ms <n>  How long each is under way; default is 50
   --keys <n>             Different hash keys; default is 10000
   --seed <n>             Default is 1; the same seed gives the same choices

   --match <key=value>
     Metadata that hosts are to have, for subsets

   --event "<seconds> <what> <host> [<weight> [<priority>]]"
     What happens when; <what> is one of down, up, eject, unhealthy, draining, degraded, weight, add, remove

   --events <file>
     The same, as a YAML list of such lines, or of {at: 40, what: down, host: "10.0.0.2:80"}

   --format text|json
     Default is text
"""


class _UsageError(Exception):
    pass


def _number(name: str, text: str, kind: Callable[[str], Any], least: float, most: float) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise _UsageError(f"{name}: '{text}' is not a number from {least:g} to {most:g}")
    return value


def _read(arguments: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {"path": "", "cluster": "", "format": "text", "events": "", "event": [], "match": {}}
    numbers: dict[str, tuple[str, Callable[[str], Any], float, float]] = {
        "--requests": ("requests", int, 1, 10_000_000),
        "--rate": ("rate", float, 0.001, 1e9),
        "--service-time-ms": ("service_time", lambda text: float(text) / 1000.0, 0, 3600),
        "--keys": ("keys", int, 1, 1_000_000),
        "--seed": ("seed", int, 0, 2**64 - 1),
    }
    texts = {"-c": "path", "--config-path": "path", "--cluster": "cluster", "--events": "events", "--format": "format"}
    rest = iter(arguments)
    for argument in rest:
        value = next(rest, None)
        if value is None and argument in (*numbers, *texts, "--event", "--match"):
            raise _UsageError(f"{argument}: a value is missing")
        value = value or ""
        if argument in numbers:
            name, kind, least, most = numbers[argument]
            values[name] = _number(argument, value, kind, least, most)
        elif argument in texts:
            values[texts[argument]] = value
        elif argument == "--event":
            values["event"].append(value)
        elif argument == "--match":
            key, separator, wanted = value.partition("=")
            if not separator:
                raise _UsageError(f"--match: '{value}' is not key=value")
            values["match"][key] = wanted
        else:
            from .timeline import closest

            near = closest(argument, [*numbers, *texts, "--event", "--match"])
            raise _UsageError(f"{argument}: no such flag{f' ({near})' if near else ''}")
    if not values["path"]:
        raise _UsageError("-c: which configuration?")
    if values["format"] not in ("text", "json"):
        raise _UsageError(f"--format: '{values['format']}' is neither text nor json")
    return values


def main(arguments: Sequence[str]) -> int:
    """Simulate; the result is the exit code. What is wrong goes to standard error."""
    if arguments and arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    try:
        values = _read(arguments)
        sys.stdout.write(_run(values))
    except _UsageError as wrong:
        sys.stderr.write(f"minienvoy simulate: {wrong}\n`minienvoy simulate --help` tells what there is\n")
        return 1
    except (MinienvoyError, OSError) as error:
        sys.stderr.write(f"minienvoy simulate: {error}\n")
        return 1
    return 0


def _run(values: dict[str, Any]) -> str:
    from ..config.loader import load_bootstrap
    from ..extensions import register_catalogue
    from .report import json_report, text_report
    from .simulation import Settings, Simulation, find_cluster
    from .timeline import parse_event

    register_catalogue()
    bootstrap = load_bootstrap(values["path"]).message
    known = ("requests", "rate", "service_time", "keys", "seed")
    settings = Settings(criteria=values["match"], **{name: values[name] for name in known if name in values})
    events = [*map(parse_event, values["event"]), *_events_of(values["events"])]
    simulation = Simulation(find_cluster(bootstrap.static_resources.clusters, values["cluster"]), settings)
    phases = simulation.run(events)
    return (json_report if values["format"] == "json" else text_report)(simulation, phases)


def _events_of(path: str) -> list[Any]:
    if not path:
        return []
    import yaml

    from ..errors import ConfigError
    from .timeline import event_from_mapping

    with open(path, encoding="utf-8") as file:  # noqa: PTH123 (no pathlib: start-up)
        try:
            listed = yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: {error}") from None
    if not isinstance(listed, list):
        raise ConfigError(f"{path}: events are a list")
    return [event_from_mapping(each) for each in listed]
