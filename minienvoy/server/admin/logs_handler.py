"""The admin interface's `/logging`: which levels the loggers have, and changing them.

Envoy: `Server::LogsHandler` (`source/server/admin/logs_handler.cc`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import logger
from ...log_pattern import LEVEL_NAMES

_USAGE = (
    "usage: /logging?<name>=<level> (change single level)\n"
    "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
    "usage: /logging?level=<level> (change all levels)\n"
    "usage: /logging?group=<group_name>:<level> (change group of loggers)\n"
    f"levels: {' '.join(LEVEL_NAMES)} \n"
)


class _RefusedError(Exception):
    pass


def handler_logging(parameters: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Answer `POST /logging` with these query parameters, in their order: status and body (`text/plain`).

    Either everything that is asked for is changed, or nothing.
    """
    status, problem = 200, ""
    try:
        for found, level in _changes(parameters):
            found.set_level(level)
    except _RefusedError as refused:
        status, problem = 400, f"error: {refused}\n\n{_USAGE}"
    levels = "".join(f"  {one.name}: {LEVEL_NAMES[one.level]}\n" for one in logger.loggers().values())
    return status, f"{problem}active loggers:\n{levels}\n"


def _changes(parameters: Sequence[tuple[str, str]]) -> list[tuple[logger.Logger, int]]:
    if not parameters:
        return []
    name, value = parameters[0]
    if any(other != name for other, _ in parameters):
        raise _RefusedError("invalid number of parameters")
    if name == "group":
        raise _RefusedError("group parameter requires fine-grain logging to be enabled")
    if not value:
        return []
    known = logger.loggers()
    if name == "level":
        level = _level(value)
        return [(one, level) for one in known.values()]
    wanted = [(name, value)]
    if name == "paths":
        wanted = []
        for item in filter(None, value.split(",")):
            component, _, level_name = item.partition(":")
            if not component or not level_name:
                raise _RefusedError("empty logger name or empty logger level")
            wanted.append((component, level_name))
    changes = []
    for component, level_name in wanted:
        level = _level(level_name)
        if component not in known:
            raise _RefusedError("unknown logger name")
        changes.append((known[component], level))
    return changes


def _level(name: str) -> int:
    if name not in LEVEL_NAMES:
        raise _RefusedError("unknown logger level")
    return LEVEL_NAMES.index(name)
