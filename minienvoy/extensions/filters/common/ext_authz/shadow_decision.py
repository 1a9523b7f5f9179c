"""What shadow mode leaves in the filter state: the decision that was not carried out.

Envoy: `Extensions::HttpFilters::ExtAuthz::ShadowDecisionObject`, `Extensions::NetworkFilters::ExtAuthz` likewise. A log
shows it as a message, or one of its fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .....access_log.json_text import json_value
from .....stream_info import MessageState
from .response import Header


def shadow_decision(result: str, status: int, headers: Iterable[Header] = ()) -> MessageState:
    """`result` is `OK`, `DENIED` or `ERROR`; `headers` are those that the client would have had."""
    fields: dict[str, Any] = {"check_result": result}
    message: dict[str, Any] = {"checkResult": result}
    if status:
        fields["status_code"] = message["statusCode"] = status
    listed = [{"key": name.decode("latin-1"), "value": value.decode("latin-1")} for name, value in headers]
    text = dict(fields)
    if listed:
        message["responseHeaders"] = text["response_headers"] = listed
    return MessageState(fields, message, json_value(text, in_order=True))
