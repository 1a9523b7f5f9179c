"""`minienvoy explain --check`: which routes to test, and what came of the tests.

Envoy: `test/tools/router_check/router_check.cc`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.api import type_of, unpack
from ..config.fields import require_supported
from ..config.loader import LoadedConfig, check, load_bootstrap, load_dict, load_file
from ..config.source import Source
from ..errors import ConfigError, UsageError
from ..explain.explanation import NearMiss
from .check_schema import is_route_configuration, load_checks
from .dry_server import DryRun
from .route_check import Result, RouteCheck

if TYPE_CHECKING:
    from ..http.conn_manager_config import ConnectionManagerConfig
    from ..server.options import Options

ROUTE_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"
MAX_NEAR_MISSES = 10
"""That are shown below a test that failed."""


class _Candidate(NamedTuple):
    """A route configuration of a bootstrap, where it stands, and the connection manager around it."""

    proto: Any
    path: str
    listener: str
    manager: ConnectionManagerConfig


def check_routes(given: Any, options: Options) -> int:
    """Run the tests of `given.check`; the exit code: 0 if all pass and enough is covered."""
    checks = load_checks(given.check)
    return asyncio.run(_run(given, options, checks))


async def _run(given: Any, options: Options, checks: LoadedConfig) -> int:
    alone = bool(given.config_path) and not given.config_yaml and is_route_configuration(given.config_path)
    loaded = load_dict({}) if alone else load_bootstrap(given.config_path, given.config_yaml)
    run = DryRun(options, loaded)
    try:
        source = loaded.source
        try:
            if alone:
                routes = load_file(given.config_path, ROUTE_CONFIGURATION)
                check(routes)
                source = routes.source
                require_supported(routes.message, source, warn=options.unsupported == "warn")
                tester = RouteCheck(routes.message, "", run.server)
            else:
                chosen = _choose(run, given)
                tester = RouteCheck(chosen.proto, chosen.path, run.server, chosen.manager)
        except ConfigError as error:
            if error.location or not error.path:
                raise
            raise ConfigError(error.problem, error.path, source.locate(error.path), error.remedy) from None
        results = tester.run(checks.message.tests)
    finally:
        await run.close()
    coverage = tester.coverage.percent(given.covall)
    values = {
        "tests": [_values(each, checks.source, source) for each in results],
        "passed": sum(not each.failures for each in results),
        "failed": sum(bool(each.failures) for each in results),
        "coverage": coverage,
        "missing": [
            {"virtual_host": host, "path": path, "place": source.locate(path)}
            for host, path in tester.coverage.missing()
        ],
    }
    if given.format == "json":
        sys.stdout.write(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_text(values, given))
    if values["failed"]:
        return 1
    if coverage < given.fail_under:
        sys.stderr.write(f"Failed to meet coverage requirement: {given.fail_under:g}%\n")
        return 1
    return 0


def _candidates(run: DryRun) -> list[_Candidate]:
    found = []
    for listener in run.server.listener_manager.listeners():
        manager = listener.filter_chain_manager
        chains = [
            (f"{listener.path}.filter_chains[{index}]", proto, made)
            for index, (proto, made) in enumerate(
                zip(listener.config.filter_chains, manager.filter_chains, strict=True)
            )
        ]
        if manager.default_filter_chain is not None:
            default = listener.config.default_filter_chain
            chains.append((f"{listener.path}.default_filter_chain", default, manager.default_filter_chain))
        for path, proto, made in chains:
            for index, (each, make) in enumerate(zip(proto.filters, made.filters, strict=True)):
                if type_of(each.typed_config).endswith(".HttpConnectionManager"):
                    network_filter: Any = make()
                    here = f"{path}.filters[{index}].typed_config"
                    for routes, where in _route_configurations(unpack(each.typed_config), here):
                        found.append(_Candidate(routes, where, listener.name, network_filter.config))
    return found


def _route_configurations(manager: Any, path: str) -> Iterator[tuple[Any, str]]:
    """Of a connection manager: the one that it has, or that of each scope."""
    if manager.HasField("route_config"):
        yield manager.route_config, f"{path}.route_config"
    scopes = manager.scoped_routes.scoped_route_configurations_list.scoped_route_configurations
    here = f"{path}.scoped_routes.scoped_route_configurations_list.scoped_route_configurations"
    for index, scope in enumerate(scopes):
        yield scope.route_configuration, f"{here}[{index}].route_configuration"


def _choose(run: DryRun, given: Any) -> _Candidate:
    found = _candidates(run)
    if given.listener:
        found = [each for each in found if each.listener == given.listener]
    if given.route_config:
        found = [each for each in found if each.proto.name == given.route_config]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{each.proto.name or '(unnamed)'} of listener {each.listener}" for each in _candidates(run))
    if not found:
        raise UsageError("there is no such route configuration", f"there are: {names or 'none'}")
    raise UsageError("which routes?", f"choose with --listener or --route-config among: {names}")


def _values(result: Result, checks: Source, source: Source) -> dict[str, Any]:
    route = result.route
    return {
        "test_name": result.name,
        "place": checks.locate(result.path),
        "passed": not result.failures,
        "failures": result.failures,
        "route": None
        if route is None
        else {"name": str(route), "because": result.because, "place": source.locate(route.path)},
        "because": result.because,
        "near_misses": [
            {"name": each.name, "because": each.reason, "place": source.locate(each.path)}
            for each in result.rejected
            if isinstance(each, NearMiss)
        ],
    }


def _text(values: dict[str, Any], given: Any) -> str:
    lines = []
    for test in values["tests"]:
        if test["passed"]:
            if given.details and not given.only_show_failures:
                lines.append(f"pass  {test['test_name']}")
            continue
        lines.append(f"FAIL  {test['test_name']}  [{test['place']}]")
        lines += [f"      {failure}" for failure in test["failures"]]
        route = test["route"]
        if route is None:
            lines.append(f"      no route: {test['because']}")
        else:
            lines.append(f"      route {route['name']}: {route['because']}  [{route['place']}]")
        for miss in test["near_misses"][:MAX_NEAR_MISSES]:
            lines.append(f"      not {miss['name']}: {miss['because']}  [{miss['place']}]")
    total = len(values["tests"])
    lines.append(f"{values['passed']} of {total} tests pass")
    if given.covall or given.detailed_coverage:
        lines += [
            f"Missing test for host: {each['virtual_host']}, route: {each['path']}  [{each['place']}]"
            for each in values["missing"]
        ]
    lines.append(f"Current route coverage: {values['coverage']:g}%")
    return "\n".join(lines) + "\n"
