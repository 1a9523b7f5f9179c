"""How much of the routes a set of checks has looked at.

Envoy: `Coverage` of `test/tools/router_check/coverage.cc`.
"""

from __future__ import annotations

from typing import Any, Final

ROUTE_FIELDS: Final = ("cluster_name", "virtual_cluster_name", "virtual_host_name", "path_rewrite", "host_rewrite")
ANSWER_FIELDS: Final = ("path_redirect", "code_redirect")
"""What can be checked about a route that forwards, and about one that answers; header checks do not count."""


class Coverage:
    """A route counts as covered once something about it was checked and was so. Each weighted cluster is one more."""

    def __init__(self, route_config: Any, path: str) -> None:
        """`path` is that of the `RouteConfiguration` in the configuration."""
        self._weighted: set[str] = set()
        self._routes: dict[str, str] = {}
        self._seen: dict[tuple[str, str], set[str]] = {}
        self._answers: set[tuple[str, str]] = set()
        self._total = 0
        before = f"{path}." if path else ""
        for number, host in enumerate(route_config.virtual_hosts):
            for index, route in enumerate(host.routes):
                here = f"{before}virtual_hosts[{number}].routes[{index}]"
                self._routes[here] = host.name
                clusters = len(route.route.weighted_clusters.clusters)
                self._total += clusters or 1
                if clusters:
                    self._weighted.add(here)

    def mark(self, entry: Any, field: str) -> None:
        """`field` of that `RouteEntry` is as expected."""
        key = (entry.path, entry.cluster_name if entry.path in self._weighted else "")
        self._seen.setdefault(key, set()).add(field)
        if entry.direct_response is not None:
            self._answers.add(key)

    def percent(self, comprehensive: bool) -> float:
        """Of routes, or of everything that could be checked about each of them."""
        if not self._total:
            return 100.0
        if not comprehensive:
            return 100.0 * len(self._seen) / self._total
        covered = 0.0
        for key, fields in self._seen.items():
            covered += len(fields) / len(ANSWER_FIELDS if key in self._answers else ROUTE_FIELDS)
        return 100.0 * covered / self._total

    def missing(self) -> list[tuple[str, str]]:
        """(virtual host, path) of each route about which nothing was checked."""
        covered = {path for path, _ in self._seen}
        return [(host, path) for path, host in self._routes.items() if path not in covered]
