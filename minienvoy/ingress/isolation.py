"""Finds the objects that make a configuration impossible, so that all others can be served.

No Envoy counterpart. The API server checks the form of objects, not whether what follows from them can be used: a
certificate that is none, a header name with a space. As long as everything is well nothing is looked at one by one.
If it is not, each object is looked at alone; what was found out is kept until the object brings something else. If all
of them are well alone, older ones go first, and who does not fit to them is left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..config.loader import load_dict
from ..errors import ConfigError
from ..event.dispatcher import Dispatcher
from ..server.options import Options
from ..server.server import Server
from .model import Model

MOST_CHECKS: Final = 100
"""Of several objects together, in one search; who has not been looked at by then is left out."""

Values = dict[str, Any]


async def problem_of(values: Values, dispatcher: Dispatcher) -> str:
    """Why a bootstrap can not be used; empty if it can."""
    # Others have their turn between two of these: each takes a few milliseconds.
    await dispatcher.pause()
    try:
        loaded = load_dict(values, "envoy.config.bootstrap.v3.Bootstrap")
        probe = Server(Options(), loaded, Dispatcher(dispatcher.loop), bind=False)
    except ConfigError as error:
        return f"{error.problem} ({error.path})" if error.path else error.problem
    await probe.stop()
    return ""


class Isolation:
    """Attributes:
    left_out: objects, as text, that are not served, and why; of the last search, and of earlier ones as long as they
        bring the same.
    """

    def __init__(self, configuration: Callable[[Model], Values], problem: Callable[[Values], Awaitable[str]]) -> None:
        """`configuration` is what a model comes to; `problem` is why that can not be used, or empty."""
        self._configuration = configuration
        self._problem = problem
        self._known: dict[str, tuple[Values, str]] = {}
        """Of each object what it brings, and what is wrong with it alone."""
        self.left_out: dict[str, str] = {}

    def rest(self, model: Model) -> Model:
        """Without the objects that are known to be wrong."""
        names = [str(each) for each in model.sources]
        known = self._known
        self._known = {name: known[name] for name in names if name in known}
        self.left_out = {
            name: problem
            for name, (brings, problem) in self._known.items()
            if problem and brings == self._configuration(model.part({name}, bare=True))
        }
        return model.part(set(names) - self.left_out.keys())

    async def search(self, model: Model) -> Model:
        """Leave out whoever makes `model` impossible; the rest is possible, unless it is nobody's fault."""
        names = [str(each) for each in model.sources]
        for name in names:
            brings = self._configuration(model.part({name}, bare=True))
            if self._known.get(name, ({}, ""))[0] != brings:
                self._known[name] = brings, await self._problem(brings)
        rest = self.rest(model)
        problem = await self._problem(self._configuration(rest))
        if not problem:
            return rest
        kept: set[str] = set()
        await self._fit(model, kept, [name for name in names if name not in self.left_out], [MOST_CHECKS], problem)
        return model.part(kept)

    async def _fit(self, model: Model, kept: set[str], names: list[str], left: list[int], problem: str) -> None:
        """Add to `kept` who fits, by halves; `problem` is what all of `names` beside `kept` have."""
        if len(names) < 2:
            self.left_out.update(dict.fromkeys(names, problem))
            return
        middle = len(names) // 2
        for half in (names[:middle], names[middle:]):
            if not left[0]:
                self.left_out.update(dict.fromkeys(half, f"too much is wrong to look at it: {problem}"))
                continue
            left[0] -= 1
            found = await self._problem(self._configuration(model.part(kept | set(half))))
            if found:
                await self._fit(model, kept, half, left, found)
            else:
                kept.update(half)
