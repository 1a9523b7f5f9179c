"""minienvoy's own: why requests went where they went, and what of the configuration is not done.

No Envoy counterpart; everything of this kind lives below `/minienvoy/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...explain.explanation import Decision, Explanation
from ...explain.journal import JournalEntry
from ...record import as_dict
from .request import AdminRequest, AdminResponse, json_response, text_response

if TYPE_CHECKING:
    from .admin_server import AdminServer


class ExplainHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_explain(self, request: AdminRequest) -> AdminResponse:
        """`request_id=` for one request, `last=N` for the newest N (1 if nothing is said), newest last; `journal=N` for
        the newest N ejections and health transitions of hosts."""
        log = self._server.explanations
        if log is None:
            return text_response("explaining is off: start with --explain\n", 404)
        if request_id := request.query.first("request_id"):
            try:
                return json_response({"explanations": [_explanation_json(log.for_request_id(request_id))]})
            except KeyError:
                return text_response(f"no explanation of request {request_id} is kept (any more)\n", 404)
        journal = request.query.first("journal")
        last = journal or request.query.first("last") or "1"
        if not (last.isascii() and last.isdigit()) or len(last) > 9:
            return text_response(
                "usage: /minienvoy/explain?request_id=<x-request-id> or ?last=<number> or ?journal=<number>\n", 400
            )
        count = int(last)
        if journal:
            return json_response({"journal": [_entry_json(each) for each in log.journal.last(count)]})
        # Requests to this interface are in the log as well, but nothing is decided for them.
        newest = [each for each in log if each.decisions][-count:] if count else []
        return json_response({"explanations": [_explanation_json(each) for each in newest]})

    def handler_unsupported(self, request: AdminRequest) -> AdminResponse:
        return json_response({"unsupported": [_plain(each) for each in self._server.unsupported]})


def _explanation_json(explanation: Explanation) -> dict[str, Any]:
    decisions = [_decision_json(decision) for decision in explanation.decisions]
    return {"request_id": explanation.request_id, "decisions": decisions}


def _entry_json(entry: JournalEntry) -> dict[str, Any]:
    return {"time": round(entry.time, 3), "cluster": entry.cluster, **_decision_json(entry.decision)}


def _decision_json(decision: Decision) -> dict[str, Any]:
    return {
        "point": decision.point,
        "chose": str(decision.chose),
        "because": decision.because,
        "rejected": [str(each) for each in decision.rejected],
    }


def _plain(value: Any) -> Any:
    if (attributes := as_dict(value)) is not None:
        return {name: _plain(each) for name, each in attributes.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (str, int, float, bool, dict)) else str(value)
