"""The pytest plugin: a minienvoy, and upstreams for it, as fixtures.

No Envoy counterpart. Nothing of minienvoy is imported before a test asks for a fixture. The fixtures need no event loop
of the test's: they serve synchronous tests, and asynchronous ones of any plugin.
"""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Callable, Generator, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..event.loop_thread import LoopThread
    from ..threaded_proxy import ThreadedProxy
    from .threaded_upstream import ThreadedUpstream

MAX_EXPLAINED = 5
"""Explanations that are shown with a test that failed."""

_PROXIES: pytest.StashKey[list[ThreadedProxy]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("minienvoy", "minienvoy: Envoy in the process of the tests")
    group.addoption("--minienvoy-config", metavar="FILE", help="configuration of `minienvoy_proxy`")
    group.addoption("--minienvoy-seed", type=int, metavar="NUMBER", help="of every random choice, for all tests")
    group.addoption(
        "--minienvoy-explain", action="store_true", help="show where requests went for tests that pass, too"
    )
    parser.addini("minienvoy_config", "configuration of `minienvoy_proxy`", default="")
    parser.addini("minienvoy_seed", "seed of every random choice", default="")
    parser.addini("minienvoy_unsupported", "`refuse` (default) or `warn`", default="refuse")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "minienvoy(config, **options): configuration and options of the fixture `minienvoy_proxy`"
    )


def pytest_plugin_registered(plugin: object) -> None:
    """`pytester` is there: it forgets what is first imported by a suite within a suite.

    Then two of one class would be about, and each part would know another one. So all of it is imported before.
    """
    if getattr(plugin, "__name__", "") == "_pytest.pytester":
        import_everything()


def import_everything() -> None:
    """All of minienvoy, but for what needs an extra that is not installed."""
    import yaml

    import minienvoy

    with contextlib.suppress(ImportError):
        import_module(f"{yaml.__name__}._yaml")
    for each in pkgutil.walk_packages(minienvoy.__path__, f"{minienvoy.__name__}."):
        if not each.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                import_module(each.name)


@pytest.fixture
def minienvoy_thread() -> Iterator[LoopThread]:
    """The thread that the proxies and the upstreams of a test share: simulated time sees all of them."""
    from ..event.loop_thread import LoopThread

    thread = LoopThread()
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def minienvoy(request: pytest.FixtureRequest, minienvoy_thread: LoopThread) -> Iterator[Callable[..., ThreadedProxy]]:
    """`minienvoy(config, **options)` starts a proxy: a path, YAML text or plain values, and the options of `Proxy`."""
    proxies: list[ThreadedProxy] = request.node.stash.setdefault(_PROXIES, [])

    def start(config: str | Path | Mapping[str, Any] | None = None, **options: Any) -> ThreadedProxy:
        from ..proxy import Proxy

        given = request.config
        seed = given.getoption("--minienvoy-seed")
        if seed is None and (text := given.getini("minienvoy_seed")):
            seed = int(text)
        if seed is not None:
            options.setdefault("seed", seed)
        options.setdefault("unsupported", given.getini("minienvoy_unsupported"))
        if config is None:
            config = given.getoption("--minienvoy-config") or given.getini("minienvoy_config")
            if not config:
                raise pytest.UsageError(
                    "minienvoy has no configuration: give one to the fixture, with the marker "
                    "@pytest.mark.minienvoy('envoy.yaml'), --minienvoy-config or minienvoy_config in the ini file"
                )
        if isinstance(config, Mapping):
            made = Proxy.from_dict(config, **options)
        else:
            made = Proxy.from_yaml(_found(config, request), **options)
        proxy = made.in_thread(minienvoy_thread)
        proxies.append(proxy)
        return proxy.start()

    yield start
    for proxy in reversed(proxies):
        proxy.stop()


@pytest.fixture
def minienvoy_proxy(request: pytest.FixtureRequest, minienvoy: Callable[..., ThreadedProxy]) -> ThreadedProxy:
    """A running proxy: what the marker `minienvoy` says, else what the command line or the ini file says."""
    marker = request.node.get_closest_marker("minienvoy")
    return minienvoy() if marker is None else minienvoy(*marker.args, **marker.kwargs)


@pytest.fixture
def minienvoy_upstream(minienvoy_thread: LoopThread) -> Iterator[Callable[..., ThreadedUpstream]]:
    """`minienvoy_upstream(*answers, respond=None)` starts a `FakeUpstream`."""
    from .fake_upstream import FakeUpstream
    from .threaded_upstream import ThreadedUpstream

    upstreams: list[ThreadedUpstream] = []

    def start(*answers: Any, **options: Any) -> ThreadedUpstream:
        upstream = ThreadedUpstream(FakeUpstream(*answers, **options), minienvoy_thread)
        upstreams.append(upstream)
        return upstream.start()

    yield start
    for upstream in reversed(upstreams):
        upstream.stop()


def _found(config: str | Path, request: pytest.FixtureRequest) -> str | Path:
    """A relative path is looked for beside the test, then from the root of the tests."""
    if isinstance(config, str) and "\n" in config:
        return config
    for base in (request.path.parent, request.config.rootpath):
        if (base / config).exists():
            return base / config
    return config


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.when != "call" or not (report.failed or item.config.getoption("--minienvoy-explain")):
        return
    for proxy in item.stash.get(_PROXIES, []):
        explained = [str(each) for each in proxy.explain if each.decisions][-MAX_EXPLAINED:]
        if explained:
            report.sections.append((f"where requests went ({proxy!r})", "\n\n".join(explained)))
