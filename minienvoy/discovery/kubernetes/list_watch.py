"""Runs a reflector: sends what it wants to ask, hands it what comes, waits as long as it says.

No Envoy counterpart. The only place where discovery waits for the API server. It waits in a task of its own, never
longer than `SILENCE` for the next byte: a live server sends a bookmark every minute, and one that was cut off without a
word (a node that died, a firewall that forgot) would hold a watch for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from ... import logger
from ...errors import KubernetesError
from ...event.deadline import Deadline
from .reflector import Reflector, Request

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher
    from ...stats.store import Scope

log = logger.get("upstream")
SILENCE: Final = 90.0
"""Seconds without a byte after which a request is given up."""
LARGEST_ANSWER: Final = 256 * 1024 * 1024


class ApiResponse(Protocol):
    """Attributes:
    retry_after: seconds, None where the server does not say.
    """

    @property
    def status(self) -> int: ...
    @property
    def retry_after(self) -> float | None: ...
    async def chunk(self) -> bytes:
        """The next bytes of the body, empty at its end. Raises KubernetesError if it is cut short."""

    def close(self) -> None:
        """Nobody wants the rest."""


class Api(Protocol):
    """The way to one API server."""

    def default_namespace(self) -> str:
        """The one that is meant where none is told. Raises KubernetesError."""

    async def get(self, path: str, query: tuple[tuple[str, str], ...]) -> ApiResponse:
        """Raises KubernetesError."""

    async def has_watch_list(self) -> bool:
        """Whether a watch can begin with everything there is."""

    def forget_credentials(self) -> None:
        """They were refused: make new ones before the next request."""

    def close(self) -> None:
        """End all connections, soon."""


class ListWatch:
    """`start`, then the reflector's store fills; `stop` at the end."""

    def __init__(self, reflector: Reflector, api: Api, dispatcher: Dispatcher, scope: Scope | None = None) -> None:
        self.reflector = reflector
        self._api = api
        self._dispatcher = dispatcher
        self._task: asyncio.Task[None] | None = None
        self._heard = dispatcher.monotonic_time()
        self._events = 0
        self._told = ""
        if scope is not None:
            scope.provider(lambda: (("stale_seconds", int(self.stale_seconds)),), gauges=True)

    @property
    def stale_seconds(self) -> float:
        """How long ago it was last known that nothing is missing; 0 while a watch is open."""
        return 0.0 if self.reflector.stats.connected else self._dispatcher.monotonic_time() - self._heard

    def start(self) -> None:
        if self._task is None:
            self._task = self._dispatcher.create_task(self._run(), f"kubernetes {self.reflector}")

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            forbidden = self.reflector.forbidden
            delay = await self._ask()
            self._report()
            if self.reflector.forbidden and not forbidden:
                self.reflector.store.touch()
            if self.reflector.unauthorized:
                self._api.forget_credentials()
            if delay > 0:
                await self._dispatcher.sleep(delay)

    async def _ask(self) -> float:
        """One request; how long to wait after it."""
        reflector = self.reflector
        problem = ""
        began = self._dispatcher.monotonic_time()
        try:
            if reflector.watch_list is None:
                reflector.watch_list = await self._has_watch_list()
            await self._exchange(reflector.next_request())
        except TimeoutError:
            problem = f"nothing was heard of the server for {SILENCE:.0f} seconds"
            return reflector.ended(problem, self._dispatcher.monotonic_time() - began)
        except KubernetesError as error:
            problem = str(error)
        except Exception as error:
            # Whatever a server has thought of that nobody here has: the next answer may be better.
            problem = f"the answer is not understood: {type(error).__name__}: {error}"
        delay = reflector.ended(problem, self._dispatcher.monotonic_time() - began)
        if reflector.worked:
            # Whatever happened while the connection was there has been told.
            self._heard = self._dispatcher.monotonic_time()
        return delay

    async def _has_watch_list(self) -> bool:
        async with Deadline(self._dispatcher, SILENCE):
            return await self._api.has_watch_list()

    async def _exchange(self, request: Request) -> None:
        reflector = self.reflector
        async with Deadline(self._dispatcher, SILENCE) as silence:
            response = await self._api.get(request.path, request.query)
            try:
                if reflector.answered(response.status):
                    self._report()
                    while not reflector.over and (data := await response.chunk()):
                        silence.extend()
                        for _ in reflector.watched(data):
                            await self._dispatcher.pause()
                        self._note_sync()
                    return
                body = bytearray()
                while data := await response.chunk():
                    silence.extend()
                    body += data
                    if len(body) > LARGEST_ANSWER:
                        raise KubernetesError("the answer has no end")
                for _ in reflector.listed(bytes(body), response.retry_after):
                    silence.extend()
                    await self._dispatcher.pause()
                self._note_sync()
            finally:
                response.close()

    def _note_sync(self) -> None:
        stats = self.reflector.stats
        told = stats.events + stats.bookmarks
        if self.reflector.synced_now:
            self.reflector.synced_now = False
            stats.last_sync = int(self._dispatcher.wall_time())
        elif told == self._events:
            return
        self._events = told
        self._heard = self._dispatcher.monotonic_time()

    def _report(self) -> None:
        """Log a problem once, and its end."""
        problem = self.reflector.problem
        if problem == self._told:
            return
        if problem:
            log.warning(f"kubernetes: {self.reflector}: {problem}")
        elif self._told:
            log.warning(f"kubernetes: {self.reflector}: the API server answers again")
        self._told = problem
