"""minienvoy's own: which pods are hosts, which are not, and why.

No Envoy counterpart. `/minienvoy/kubernetes` as text for people, with `format=json` for programs; `cluster=` for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .request import AdminRequest, AdminResponse, json_response, text_response

if TYPE_CHECKING:
    from ...discovery.kubernetes.discovery import KubernetesDiscovery, Watch
    from ...discovery.kubernetes.mapped import MappedEndpoint
    from ...discovery.kubernetes.object_report import ObjectReport, ObjectState
    from ...discovery.kubernetes.subscription import Subscription
    from .admin_server import AdminServer


class KubernetesHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_kubernetes(self, request: AdminRequest) -> AdminResponse:
        discovery: KubernetesDiscovery | None = self._server.cluster_manager.singletons.get("kubernetes")
        subscriptions = [] if discovery is None else discovery.subscriptions
        if cluster := request.query.first("cluster"):
            subscriptions = [each for each in subscriptions if each.name == cluster]
            if not subscriptions:
                return text_response(f"no cluster '{cluster}' follows Kubernetes\n", 404)
        report: ObjectReport | None = self._server.cluster_manager.singletons.get("kubernetes objects")
        states = () if report is None or cluster else report.states
        if request.query.first("format") == "json":
            told: dict[str, Any] = {"clusters": [_cluster_json(each) for each in subscriptions]}
            if report is not None and not cluster:
                told["objects"] = [{**each._asdict(), "notes": list(each.notes)} for each in states]
            return json_response(told)
        if not subscriptions and not states:
            return text_response("no cluster follows Kubernetes\n")
        return text_response("\n".join([*map(_object_text, states), *map(_cluster_text, subscriptions)]))


def _cluster_json(subscription: Subscription) -> dict[str, Any]:
    assignment = subscription.assignment
    return {
        "name": subscription.name,
        "follows": [{"what": str(ref), "port": ref.port} for ref in subscription.settings.refs],
        "synced": assignment is not None,
        "stale_seconds": int(subscription.stale_seconds),
        "problem": subscription.problem,
        "notes": [] if assignment is None else list(assignment.notes),
        "app_protocol": "" if assignment is None else assignment.app_protocol,
        "watches": [_watch_json(watch) for watch in subscription.watches],
        "endpoints": [] if assignment is None else [_endpoint_json(each) for each in _all(subscription)],
    }


def _object_text(state: ObjectState) -> str:
    lines = [f"object {state.name}"]
    if state.left_out:
        lines.append(f"  left out: {state.left_out}")
    return "\n".join([*lines, *[f"  note: {note}" for note in state.notes]]) + "\n"


def _watch_json(watch: Watch) -> dict[str, Any]:
    stats = watch.reflector.stats
    return {
        "what": str(watch.reflector),
        "connected": bool(stats.connected),
        "synced": watch.store.synced,
        "problem": watch.reflector.problem,
        "stale_seconds": int(watch.list_watch.stale_seconds),
        "last_sync": stats.last_sync,
        "objects": len(watch.store),
        "events": stats.events,
        "relists": stats.relists,
        "watch_restarts": stats.watch_restarts,
        "malformed": stats.malformed,
    }


def _endpoint_json(endpoint: MappedEndpoint) -> dict[str, Any]:
    return {
        "address": endpoint.address,
        "port": endpoint.port,
        "family": endpoint.family,
        "host": not endpoint.excluded,
        "health": endpoint.health.value,
        "excluded_because": endpoint.excluded,
        "condition": endpoint.condition,
        "priority": endpoint.priority,
        "weight": endpoint.weight,
        "zone": endpoint.zone,
        "node": endpoint.node,
        "hostname": endpoint.hostname,
        "pod": str(endpoint.pod) if endpoint.pod.name else "",
        "service": str(endpoint.service) if endpoint.service.name else "",
        "source": str(endpoint.source),
        "additional_addresses": list(endpoint.additional),
    }


def _all(subscription: Subscription) -> list[MappedEndpoint]:
    assignment = subscription.assignment
    return [] if assignment is None else [*assignment.hosts.values(), *assignment.excluded]


def _cluster_text(subscription: Subscription) -> str:
    assignment = subscription.assignment
    follows = "; ".join(f"{ref}, port {ref.port}" for ref in subscription.settings.refs)
    lines = [f"cluster {subscription.name}: {follows}"]
    if subscription.problem:
        lines.append(f"  problem: {subscription.problem}")
    if assignment is None:
        lines.append("  nothing is known yet")
    else:
        lines.append(f"  {len(assignment.hosts)} hosts, {len(assignment.excluded)} endpoints that are none")
        lines += [f"  note: {note}" for note in assignment.notes]
    lines += [f"  watch: {_watch_text(watch)}" for watch in subscription.watches]
    for each in _all(subscription):
        state = f"not used, {each.excluded}" if each.excluded else f"{each.health.value}, {each.condition}"
        place = [f"{name} {text}" for name, text in (("zone", each.zone), ("node", each.node)) if text]
        who = f"pod {each.pod}" if each.pod.name else f"told by {each.source}"
        extras = [f"priority {each.priority}"] if each.priority else []
        extras += [f"weight {each.weight}"] if each.weight != 1 else []
        address = f"[{each.address}]" if ":" in each.address else each.address or "-"
        lines.append(f"  {address}:{each.port or '-'}  {state}  ({', '.join([who, *place, *extras])})")
    return "\n".join(lines) + "\n"


def _watch_text(watch: Watch) -> str:
    stats, reflector = watch.reflector.stats, watch.reflector
    state = "open" if stats.connected else f"closed for {int(watch.list_watch.stale_seconds)} s"
    problem = f", {reflector.problem}" if reflector.problem else ""
    counts = f"{len(watch.store)} objects, {stats.relists} relists, {stats.watch_restarts} restarts"
    return f"{reflector}: {state}, {counts}{problem}"
