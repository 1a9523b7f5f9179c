"""The pytest plugin, in test suites of its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from .test_threaded_proxy import CONFIG

pytest_plugins = ["pytester"]

_INSTALLED = any(each.value == "minienvoy.testing.plugin" for each in entry_points(group="pytest11"))
ARGUMENTS = [
    "-p",
    "no:cacheprovider",
    "-o",
    "asyncio_default_fixture_loop_scope=function",
    *([] if _INSTALLED else ["-p", "minienvoy.testing.plugin"]),
]

GET = """
import http.client

def get(proxy, path="/"):
    connection = http.client.HTTPConnection(*proxy.address(), timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makefile(".yaml", envoy=CONFIG)
    pytester.makepyfile(asking=GET)
    pytester.syspathinsert()
    return pytester


def test_fixtures_start_and_stop_what_a_test_needs(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import threading
        import pytest
        from asking import get

        def test_proxy(minienvoy, minienvoy_upstream):
            upstream = minienvoy_upstream("hello")
            proxy = minienvoy("envoy.yaml", endpoints={"users": [upstream.address]})
            assert get(proxy) == (200, b"hello")
            assert proxy.stats["cluster.users.upstream_rq_total"] == 1
            assert upstream.wait_for_requests()[0].path == "/"

        @pytest.mark.minienvoy("envoy.yaml", seed=7)
        def test_marker(minienvoy_proxy):
            assert get(minienvoy_proxy)[0] == 503

        def test_nothing_is_left():
            assert [each.name for each in threading.enumerate() if each.name == "minienvoy"] == []
        """
    )
    suite.runpytest_inprocess(*ARGUMENTS, "--strict-markers").assert_outcomes(passed=3)


def test_the_configuration_comes_from_the_ini_file_or_the_command_line(suite: pytest.Pytester) -> None:
    suite.makepyfile("def test(minienvoy_proxy):\n    assert minienvoy_proxy.url('ingress')\n")
    result = suite.runpytest_inprocess(*ARGUMENTS)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*minienvoy has no configuration*"])
    suite.runpytest_inprocess(*ARGUMENTS, "--minienvoy-config", "envoy.yaml").assert_outcomes(passed=1)
    suite.makeini("[pytest]\nminienvoy_config = envoy.yaml\nminienvoy_seed = 3\n")
    suite.runpytest_inprocess(*ARGUMENTS).assert_outcomes(passed=1)


def test_a_test_that_fails_is_told_where_its_requests_went(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        from asking import get

        def test(minienvoy):
            assert get(minienvoy("envoy.yaml"))[0] == 200
        """
    )
    result = suite.runpytest_inprocess(*ARGUMENTS)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*where requests went*", "*cluster: users*", "*no_healthy_upstream*"])


def test_an_asynchronous_test_may_use_the_fixtures(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import asyncio
        import pytest
        from asking import get

        @pytest.mark.asyncio
        async def test(minienvoy, minienvoy_upstream):
            proxy = minienvoy("envoy.yaml", endpoints={"users": [minienvoy_upstream("hello").address]})
            assert await asyncio.to_thread(get, proxy) == (200, b"hello")
        """
    )
    suite.runpytest_inprocess(*ARGUMENTS, "-p", "pytest_asyncio").assert_outcomes(passed=1)


def test_collection_imports_nothing_of_the_proxy() -> None:
    code = (
        "import sys; import minienvoy.testing.plugin; "
        "print([name for name in sys.modules if name.startswith('minienvoy.') and name.count('.') == 1])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert ast.literal_eval(told) == ["minienvoy.version", "minienvoy.testing"]


def test_what_a_suite_in_a_suite_imports_is_the_same_afterwards(suite: pytest.Pytester) -> None:
    """pytester takes modules away that were first imported inside: there would be two of each class."""
    parts = ("minienvoy.server.server", "minienvoy.http.conn_manager", "minienvoy.extensions.clusters.static", "yaml")
    before = [sys.modules[name] for name in parts]
    suite.makepyfile("def test(minienvoy):\n    minienvoy('envoy.yaml')\n")
    suite.runpytest_inprocess(*ARGUMENTS).assert_outcomes(passed=1)
    assert [sys.modules[name] for name in parts] == before
