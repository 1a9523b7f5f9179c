"""The way to an API server: where it is, who we are, and TLS, as kubernetes_asyncio finds them.

No Envoy counterpart. Of the client library only the configuration, the authentication and the connections are used; it
is imported when the first watch begins, in another thread, for that takes half a second and 50 MB. Its own watch has no
back-off, hangs on a silent server and reads objects into models twenty times as slowly (`reflector` instead).

Credentials do not last: the token of a pod is read from its file again every minute; whatever a kubeconfig says, with
the files, tokens and plugins it names, is read anew when a plugin's credentials are about to expire, when it or its
token file is another file, and after a 401 or a failure of TLS. If that does not work, what was there before is used
until it does.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from ... import logger
from ...errors import ConfigError, KubernetesError
from .exec_plugin import load_kubeconfig
from .settings import ApiSource

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher

log = logger.get("upstream")
EXTRA: Final = ("kubernetes_asyncio", "aiohttp", "orjson")
CONNECT_SECONDS: Final = 5.0
RENEW_AGAIN: Final = 60.0
"""Seconds until it is tried again to renew credentials, if that did not work."""
EXPIRY_MARGIN: Final = 60.0
"""A plugin is run this long before its credentials expire."""
WATCH_LIST_SINCE: Final = (1, 34)
NAMESPACE_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def check_installed(path: str) -> None:
    """Raises ConfigError at `path` unless the client library is there; imports nothing."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"Kubernetes needs {', '.join(missing)}, which is not installed",
            path,
            remedy="pip install 'minienvoy[k8s]'",
        )


class KubernetesResponse:
    """Of aiohttp."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status: int = response.status
        text = response.headers.get("Retry-After", "")
        self.retry_after = float(text) if text.isascii() and text.isdigit() else None

    async def chunk(self) -> bytes:
        from aiohttp import ClientError

        try:
            data: bytes = await self._response.content.readany()
        except (ClientError, OSError) as error:
            raise KubernetesError(f"the connection broke: {error or type(error).__name__}") from error
        return data

    def close(self) -> None:
        self._response.close()


class KubernetesApi:
    """One API server, as `source` says. Nothing happens before the first request."""

    def __init__(self, source: ApiSource, dispatcher: Dispatcher) -> None:
        self._source = source
        self._dispatcher = dispatcher
        self._client: Any = None
        self._retired: list[Any] = []
        self._stale = False
        self._watch_list: bool | None = None
        self._expires: float | None = None
        self._files: dict[str, tuple[int, int] | None] = {}
        """What the kubeconfig consists of, and which files these were when they were read."""
        self._connecting = asyncio.Lock()

    def default_namespace(self) -> str:
        """Of the pod this runs in, or of the kubeconfig's context; `default` where neither says."""
        if self._in_cluster():
            try:
                with open(NAMESPACE_FILE, encoding="utf-8") as file:  # noqa: PTH123 (importing pathlib costs 5 ms)
                    return file.read().strip() or "default"
            except OSError:
                return "default"
        return _namespace_of_context(_read_kubeconfig(self._kubeconfig()), self._source.context)

    async def get(self, path: str, query: tuple[tuple[str, str], ...]) -> KubernetesResponse:
        client = await self._connected()
        import aiohttp

        try:
            response = await client.call_api(
                path,
                "GET",
                query_params=list(query),
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
                _preload_content=False,
                # Silence is the caller's to notice, in the dispatcher's time.
                _request_timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS),
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if isinstance(error, aiohttp.ClientSSLError):
                # Certificates expire on either side: ours, and the one that we know the server by.
                self._stale = True
            raise KubernetesError(f"no way to {client.configuration.host}: {error or type(error).__name__}") from error
        # The library keeps the last answer, with all that hangs on it.
        client.last_response = None
        return KubernetesResponse(response)

    async def has_watch_list(self) -> bool:
        if self._watch_list is None:
            from orjson import JSONDecodeError, loads

            response = await self.get("/version", ())
            try:
                body = b""
                while len(body) < 65536 and (data := await response.chunk()):
                    body += data
            finally:
                response.close()
            if response.status != 200:
                # Who may not ask for the version lists: that works everywhere.
                return False
            try:
                version = loads(body)
            except JSONDecodeError:
                return False
            self._watch_list = _version(version) >= WATCH_LIST_SINCE
        return self._watch_list

    def forget_credentials(self) -> None:
        self._stale = True

    def close(self) -> None:
        """End all connections, soon."""
        clients, self._retired, self._client = [*self._retired, self._client], [], None
        for client in clients:
            if client is not None:
                # A task for each: whoever stops a server gives every task one step more, and no second one.
                self._dispatcher.create_task(client.close(), "kubernetes close")

    # -- inside

    def _in_cluster(self) -> bool:
        return not self._source.kubeconfig and not self._source.context and "KUBERNETES_SERVICE_HOST" in os.environ

    def _kubeconfig(self) -> str:
        return os.path.expanduser(  # noqa: PTH111
            self._source.kubeconfig or os.environ.get("KUBECONFIG", "") or "~/.kube/config"
        )

    async def _connected(self) -> Any:
        # Several watches begin at once; a plugin is to be run for one of them.
        async with self._connecting:
            return await self._client_of_now()

    async def _client_of_now(self) -> Any:
        if self._client is not None and not self._stale and not self._expired() and not self._replaced():
            return self._client
        try:
            made = await self._make_client()
        except KubernetesError as error:
            if self._client is None:
                raise
            # An expired token is better than none: the server will say what it thinks of it.
            log.warning(f"kubernetes: the credentials can not be renewed: {error}")
            self._expires = self._dispatcher.wall_time() + EXPIRY_MARGIN + RENEW_AGAIN
            self._stale = False
            return self._client
        old, self._client, self._stale = self._client, made, False
        if old is not None:
            # A watch may still read from it: it ends within five minutes, and its connections with it.
            self._retired.append(old)
            while len(self._retired) > 2:
                await self._retired.pop(0).close()
        return made

    async def _make_client(self) -> Any:
        if EXTRA[0] not in sys.modules:
            await self._dispatcher.in_thread(lambda: import_module(EXTRA[0]))
            if gc.get_freeze_count():
                # Whoever runs the process has told the collector what stays. These 60,000 objects do, too.
                gc.freeze()
        from kubernetes_asyncio import client, config

        load_incluster_config: Any = config.load_incluster_config
        configuration = client.Configuration()
        # Watches hold their connections; a limit of the library's would let the next one wait for ever.
        configuration.connection_pool_maxsize = 0
        try:
            if self._in_cluster():
                load_incluster_config(client_configuration=configuration)
            else:
                path = self._kubeconfig()
                self._note_files(path)
                self._expires = await load_kubeconfig(path, self._source.context, configuration, self._dispatcher)
            # Reading the certificates of the system takes its time, and so did what is above.
            await self._dispatcher.pause()
            return client.ApiClient(configuration)
        except KubernetesError:
            raise
        except Exception as error:
            # The library raises what it happens to meet: its own exceptions, KeyError, AssertionError, ssl.SSLError.
            raise KubernetesError(f"{self._where()}: {error or type(error).__name__}") from error

    def _where(self) -> str:
        if self._in_cluster():
            return "the service account of this pod can not be used"
        context = f", context {self._source.context}" if self._source.context else ""
        return f"the kubeconfig {self._kubeconfig()}{context} can not be used"

    def _expired(self) -> bool:
        return self._expires is not None and self._dispatcher.wall_time() >= self._expires - EXPIRY_MARGIN

    def _note_files(self, path: str) -> None:
        first = path.split(os.pathsep)[0]
        token = _user_of_context(_read_kubeconfig(path), self._source.context).get("tokenFile")
        names = [first]
        if isinstance(token, str) and token:
            names.append(os.path.join(os.path.dirname(first), token))  # noqa: PTH118, PTH120
        self._files = {name: _identity(name) for name in names}

    def _replaced(self) -> bool:
        return any(_identity(name) != seen for name, seen in self._files.items())


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read_kubeconfig(path: str) -> Any:
    import yaml

    # `KUBECONFIG` may name several files; what is looked for here is nearly always in the first.
    first = path.split(os.pathsep)[0]
    try:
        with open(first, encoding="utf-8") as file:  # noqa: PTH123
            return yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise KubernetesError(f"the kubeconfig {first} can not be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise KubernetesError(f"the kubeconfig {first} is no YAML") from error


def _named(kubeconfig: Any, kind: str, name: Any) -> dict[str, Any]:
    """The `kind` of that name, e.g. `context` in `contexts`; empty if there is none."""
    listed = kubeconfig.get(f"{kind}s") if isinstance(kubeconfig, dict) else None
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and each.get("name") == name:
            found = each.get(kind)
            return found if isinstance(found, dict) else {}
    return {}


def _context_of(kubeconfig: Any, context: str) -> dict[str, Any]:
    current = kubeconfig.get("current-context") if isinstance(kubeconfig, dict) else None
    return _named(kubeconfig, "context", context or current)


def _namespace_of_context(kubeconfig: Any, context: str) -> str:
    return str(_context_of(kubeconfig, context).get("namespace") or "default")


def _user_of_context(kubeconfig: Any, context: str) -> dict[str, Any]:
    return _named(kubeconfig, "user", _context_of(kubeconfig, context).get("user"))


def _version(answer: Any) -> tuple[int, int]:
    """Of `/version`: major and minor; the minor of some distributions ends in a plus."""
    if not isinstance(answer, dict):
        return 0, 0
    numbers = [str(answer.get(name, "")).rstrip("+") for name in ("major", "minor")]
    return (int(numbers[0]), int(numbers[1])) if all(each.isdigit() for each in numbers) else (0, 0)
