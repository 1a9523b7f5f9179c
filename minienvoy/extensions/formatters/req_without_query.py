"""`%REQ_WITHOUT_QUERY(X?Y):Z%`: a request header without what follows its question mark.

Envoy: `envoy.formatter.req_without_query` (`source/extensions/formatter/req_without_query`).
"""

from __future__ import annotations

from typing import Any

from ...access_log.command import LENGTH_ALLOWED, PARAMS_OPTIONAL, Arguments, Command, CommandTable, truncated
from ...access_log.commands_http import request_header_text
from ...access_log.context import FormatterContext
from ...access_log.formatter import FORMATTERS
from ...config.fields import honours

CONFIG_TYPE = "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"

honours(CONFIG_TYPE)


def _req_without_query(arguments: Arguments) -> Command:
    header = request_header_text(arguments.argument)

    def text(context: FormatterContext) -> str | None:
        value = header(context)
        return None if value is None else value.partition("?")[0]

    return truncated(text, arguments.max_length)


@FORMATTERS.register("envoy.formatter.req_without_query", CONFIG_TYPE)
def create_req_without_query(config: Any) -> CommandTable:
    return {"REQ_WITHOUT_QUERY": (PARAMS_OPTIONAL | LENGTH_ALLOWED, _req_without_query)}
