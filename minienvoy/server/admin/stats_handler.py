"""`/stats`, `/stats/prometheus`, `/stats/recentlookups*`, `/reset_counters`.

Envoy: `Server::StatsHandler` (`source/server/admin/stats_handler.cc`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...record import replace
from ...stats.params import NameFilter, StatsParams, StatsParamsError, parse_stats_params
from ...stats.prometheus import render_prometheus
from ...stats.render import render_json, render_text
from ...stats.tag_extractor import TagProducer
from .admin_html import stats_page
from .name_filter import compile_name_filter
from .request import HTML, JSON, TEXT, AdminRequest, AdminResponse, ok, text_response

if TYPE_CHECKING:
    from .admin_server import AdminServer
    from .url_handler import ParamDescriptor


class StatsHandler:
    """`params` are the fields of the form on the page that `format=html` gives."""

    def __init__(self, server: AdminServer, params: Sequence[ParamDescriptor] = ()) -> None:
        self._server = server
        self._params = params
        self._tags: TagProducer | None = None
        self._recent_lookups = False

    def handler_stats(self, request: AdminRequest) -> AdminResponse:
        return self._render(request, prometheus=False)

    def handler_prometheus_stats(self, request: AdminRequest) -> AdminResponse:
        return self._render(request, prometheus=True)

    def handler_reset_counters(self, request: AdminRequest) -> AdminResponse:
        self._server.stats.reset_counters()
        return ok()

    def handler_recent_lookups(self, request: AdminRequest) -> AdminResponse:
        """Always none: names are looked up when configuration is compiled, so there is nothing to find in it."""
        if not self._recent_lookups:
            text = "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n"
        else:
            text = "   Count Lookup\n"
        return text_response(f"{text}\ntotal: 0\n")

    def handler_recent_lookups_enable(self, request: AdminRequest) -> AdminResponse:
        self._recent_lookups = True
        return ok()

    def handler_recent_lookups_disable(self, request: AdminRequest) -> AdminResponse:
        self._recent_lookups = False
        return ok()

    def _render(self, request: AdminRequest, *, prometheus: bool) -> AdminResponse:
        server = self._server
        query = request.query.first_values()
        if prometheus:
            query["format"] = "prometheus"
        try:
            params = _parse(query)
        except StatsParamsError as error:
            return text_response(str(error), 400)
        server.stats_flusher.on_admin_request()
        if params.format in ("html", "active-html"):
            page = stats_page(self._params, query, render_text(server.stats, params))
            return text_response(page, content_type=HTML)
        if params.format in ("text", "json"):
            content_type = JSON if params.format == "json" else TEXT
            render = render_json if params.format == "json" else render_text
            return AdminResponse(200, lambda: render(server.stats, params).encode(), [("content-type", content_type)])
        if self._tags is None:
            # Its regexes take a while to compile, and only Prometheus wants them: not at start.
            self._tags = TagProducer(server.tag_settings.tags, server.tag_settings.use_all_default_tags)
        # Envoy's admin says no version of Prometheus' text format, and renders it before it sends a head.
        return text_response(render_prometheus(server.stats, self._tags, params))


def _parse(query: Mapping[str, str]) -> StatsParams:
    params = parse_stats_params(query, compile_name_filter)
    if "invert_filter" in query and params.filter is not None:
        return replace(params, filter=_inverted(params.filter))
    return params


def _inverted(name_filter: NameFilter) -> NameFilter:
    return lambda name: not name_filter(name)
