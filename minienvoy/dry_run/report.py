"""An outcome as plain values, for tools, and as text, for people.

No Envoy counterpart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config.source import Source
from ..explain.explanation import Decision, NearMiss
from ..router.retry_policy import NAMES, RetryPolicy
from .outcome import Outcome, message_of, sent_message

if TYPE_CHECKING:
    from ..upstream.cluster_manager import ClusterManager

_WIDTH = 14
_MADE_UP = ("x-request-id",)
"""Headers whose value is another one for every request."""


class Places:
    """Where things stand in the files that the configuration was read from."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def of(self, path: str) -> str:
        """`file:line:column`; empty where it is not known."""
        # What a subscription has brought stands in another file than the bootstrap.
        return self._source.locate(path) if path and not path.startswith("resources[") else ""


def as_values(outcome: Outcome, places: Places, clusters: ClusterManager) -> dict[str, Any]:
    """Everything that is known, JSON-ready; what there is not is None."""
    request = outcome.request
    values: dict[str, Any] = {
        "request": {"method": request.method, "target": request.target, "host": request.authority},
        "listener": _chosen(outcome.decision("listener"), places),
        "filter_chain": _chosen(outcome.decision("filter_chain"), places),
        "virtual_host": None,
        "route": None,
        "cluster": None,
        "host": None,
        "timeouts": None,
        "retries": None,
        "rewrites": {},
        "upstream_request": None,
        "mirrors": [],
        "answer": None,
        "decisions": [_decision(each) for each in outcome.decisions],
    }
    if outcome.not_http:
        values["not_http"] = outcome.not_http
    if outcome.waited:
        values["waited_s"] = round(outcome.waited, 3)
    if outcome.virtual_host is not None:
        values["virtual_host"] = _chosen(outcome.virtual_host, places, outcome.base)
    route = outcome.decision("route")
    if route is not None:
        values["route"] = _route(outcome, route, places)
    if outcome.decision("cluster") is not None:
        values["cluster"] = _cluster(outcome, places, clusters)
    host = outcome.decision("host")
    if host is not None:
        values["host"] = _chosen(host, places)
    _upstream(outcome, values)
    if outcome.route is not None and outcome.route.direct_response is None and outcome.config is not None:
        values["timeouts"] = _timeouts(outcome, values["upstream_request"])
        values["retries"] = _retries(outcome.route.attempts.retry_policy)
    if outcome.answer:
        line, headers, body = message_of(outcome.answer)
        values["answer"] = {
            "status": int(line.split(" ")[1]),
            "details": outcome.details,
            "headers": [list(pair) for pair in headers],
            "body": body.decode("utf-8", "replace"),
        }
    return values


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "point": decision.point,
        "chose": None if decision.chose is None else str(decision.chose),
        "because": decision.because,
        "rejected": [str(each) for each in decision.rejected],
    }


def _chosen(decision: Decision | None, places: Places, base: str = "") -> dict[str, Any] | None:
    if decision is None:
        return None
    path = _below(base, decision.path)
    return {
        "name": None if decision.chose is None else str(decision.chose),
        "because": decision.because,
        "path": path,
        "place": places.of(path),
        "near_misses": [_near_miss(each, places, base) for each in decision.rejected],
    }


def _near_miss(each: object, places: Places, base: str) -> dict[str, str]:
    if not isinstance(each, NearMiss):
        return {"name": str(each), "because": "", "path": "", "place": ""}
    path = _below(base, each.path)
    return {"name": each.name, "because": each.reason, "path": path, "place": places.of(path)}


def _below(base: str, path: str) -> str:
    return f"{base}.{path}" if base and path else path


def _route(outcome: Outcome, decision: Decision, places: Places) -> dict[str, Any]:
    values = _chosen(decision, places, outcome.base) or {}
    entry = outcome.route
    if entry is None:
        values["kind"] = None
    elif entry.direct_response is None:
        values["kind"] = "route"
    else:
        values["kind"] = "redirect" if entry.direct_response.is_redirect else "direct_response"
    if entry is not None:
        values["match"] = entry.match.description
    return values


def _cluster(outcome: Outcome, places: Places, clusters: ClusterManager) -> dict[str, Any]:
    decision = outcome.decision("cluster")
    assert decision is not None
    name = outcome.route.cluster_name if outcome.route is not None else ""
    values: dict[str, Any] = {"name": name, "because": decision.because, "path": "", "place": ""}
    for index, each in enumerate(clusters.clusters()):
        if each == name:
            values["path"] = f"static_resources.clusters[{index}]"
            values["place"] = places.of(values["path"])
    return values


def _upstream(outcome: Outcome, values: dict[str, Any]) -> None:
    sent = [(address, wire) for address, wire in outcome.upstreams if wire]
    host = values["host"]["name"] if values["host"] else ""
    # Mirrors go out first or last, depending on who finds a connection: the host tells which is which.
    main = next((each for each in sent if each[0] == host), None)
    for address, wire in sent:
        line, headers = sent_message(outcome, wire)
        shown = {"address": address, "line": line, "headers": [list(pair) for pair in headers]}
        if main is not None and wire is main[1]:
            values["upstream_request"] = shown
            _rewrites(outcome, line, dict(headers), values["rewrites"])
        else:
            values["mirrors"].append(shown)


def _rewrites(outcome: Outcome, line: str, headers: dict[str, str], rewrites: dict[str, Any]) -> None:
    request = outcome.request
    target = line.split(" ")[1]
    if target != request.target:
        rewrites["path"] = {"before": request.target, "after": target}
    host = next((value for name, value in headers.items() if name.lower() == "host"), "")
    if host != request.authority:
        rewrites["host"] = {"before": request.authority, "after": host}


def _timeouts(outcome: Outcome, sent: dict[str, Any] | None) -> dict[str, Any]:
    """Seconds; None for no limit."""
    route, config = outcome.route, outcome.config
    told = dict(sent["headers"]).get("x-envoy-expected-rq-timeout-ms") if sent else None
    # With a limit for each attempt the upstream is told that one.
    each = route.attempts.retry_policy.per_try_timeout
    timeout = int(told) / 1000 if told and not each else route.timeout
    idle = route.idle_timeout if route.idle_timeout is not None else config.stream_idle_timeout
    duration = route.max_stream_duration if route.max_stream_duration is not None else config.max_stream_duration
    return {
        "response_s": timeout or None,
        "stream_idle_s": idle or None,
        "max_stream_duration_s": duration or None,
        "request_s": config.request_timeout or None,
    }


def _retries(policy: RetryPolicy) -> dict[str, Any] | None:
    """What the route says; None if nothing is tried again."""
    words = [name for bit, name in NAMES.items() if policy.retry_on & bit]
    if not words:
        return None
    return {
        "on": words,
        "num_retries": policy.num_retries,
        "per_try_timeout_s": policy.per_try_timeout or None,
        "per_try_idle_timeout_s": policy.per_try_idle_timeout or None,
    }


def as_text(values: dict[str, Any]) -> str:
    """The same for people."""
    request = values["request"]
    lines = [f"{request['method']} {request['target']} (host: {request['host']})", ""]

    def row(what: str, text: str, place: str = "") -> None:
        lines.append(f"{what:<{_WIDTH}}{text}" + (f"  [{place}]" if place else ""))

    def choice(what: str, chosen: dict[str, Any] | None) -> None:
        if chosen is None:
            return
        row(what, f"{chosen['name'] or 'none'}: {chosen['because']}", chosen["place"])
        for miss in chosen.get("near_misses", ()):
            reason = f": {miss['because']}" if miss["because"] else ""
            row("", f"not {miss['name']}{reason}", miss["place"])

    for point in ("listener", "filter_chain", "virtual_host", "route", "cluster", "host"):
        choice(point.replace("_", " "), values[point])
    if values.get("not_http"):
        row("no HTTP", f"{values['not_http']} takes the connection")
    timeouts = values["timeouts"]
    if timeouts is not None:
        shown = [
            f"{name.removesuffix('_s').replace('_', ' ')} {value:g} s" for name, value in timeouts.items() if value
        ]
        row("timeouts", ", ".join(shown) or "none")
    retries = values["retries"]
    if retries is not None:
        each = f", {retries['per_try_timeout_s']:g} s each" if retries["per_try_timeout_s"] else ""
        row("retries", f"up to {retries['num_retries']} on {', '.join(retries['on'])}{each}")
    for what, change in values["rewrites"].items():
        row(what, f"{change['before']} -> {change['after']}")
    if values.get("waited_s"):
        row("waits", f"{values['waited_s']:g} s before anything happens")
    for what, sent in [
        ("upstream gets", values["upstream_request"]),
        *(("mirror", each) for each in values["mirrors"]),
    ]:
        if sent is not None:
            row(what, sent["line"] + (f"  to {sent['address']}" if what == "mirror" else ""))
            lines += [f"{'':<{_WIDTH}}{name}: {_value(name, value)}" for name, value in sent["headers"]]
    answer = values["answer"]
    if answer is not None:
        row("answer", f"{answer['status']} {answer['details']}")
        lines += [f"{'':<{_WIDTH}}{name}: {value}" for name, value in answer["headers"]]
        if answer["body"]:
            lines += ["", answer["body"].rstrip("\n")]
    elif values["upstream_request"] is None and not values.get("not_http") and values["filter_chain"]["name"]:
        row("answer", "none: a filter keeps the request")
    return "\n".join(lines) + "\n"


def _value(name: str, value: str) -> str:
    return f"{value} (another one for each request)" if name.lower() in _MADE_UP else value
