"""The admin's pages: the home page, with a link or a form for every path, and `/stats?format=html`.

Envoy: `Server::AdminHtmlUtil` (`source/server/admin/admin_html_util.cc`), `AdminImpl::handlerAdminHome`. The pages are
our own; names, methods and parameters of the forms are Envoy's, so that a script that fills them in finds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from .url_handler import ParamDescriptor, ParamType, UrlHandler

_STYLE: Final = """
body { font-family: sans-serif; }
table { border-collapse: collapse; }
td, th { padding: 4px 8px; text-align: left; vertical-align: top; }
tr.command { border-top: 1px solid #ddd; }
td.option { padding-left: 24px; }
form { margin: 0; }
"""


def home_page(handlers: Sequence[UrlHandler]) -> str:
    """The whole page; what mutates is a button that posts."""
    rows = "".join(_rows(index, handler) for index, handler in enumerate(handlers, 2))
    return _page(
        "<table class='home-table'>\n"
        "<thead><tr><th class='home-data'>Command</th><th class='home-data'>Description</th></tr></thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table>\n"
    )


def stats_page(params: Sequence[ParamDescriptor], query: Mapping[str, str], text: str) -> str:
    """Stats as text below the form that asked for them; `active-html` asks again every few seconds."""
    rows = "".join(_param_row(f"param-1-stats-{param.name}", "stats", param, query) for param in params)
    refresh = "<meta http-equiv='refresh' content='5'>\n" if query.get("format") == "active-html" else ""
    return _page(
        "<form action='stats' method='get' id='stats' class='home-form'>\n"
        f"<table class='home-table'>\n{rows}</table>\n<button>stats</button>\n</form>\n"
        f"<pre>\n{escape(text)}</pre>\n",
        refresh,
    )


def _page(body: str, head: str = "") -> str:
    return (
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<title>Envoy Admin</title>\n"
        f"{head}<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _rows(index: int, handler: UrlHandler) -> str:
    path = escape(handler.prefix.removeprefix("/"))
    form = path.replace("/", "-")
    if handler.mutates_server_state or handler.params:
        method = "post" if handler.mutates_server_state else "get"
        command = (
            f"<form action='{path}' method='{method}' id='{form}' class='home-form'><button>{path}</button></form>"
        )
    else:
        command = f"<a href='{path}'>{path}</a>"
    row = (
        f"<tr class='command'><td class='home-data'>{command}</td>"
        f"<td class='home-data'>{escape(handler.help)}</td></tr>\n"
    )
    return row + "".join(_param_row(f"param-{index}-{form}-{param.name}", form, param) for param in handler.params)


def _param_row(identifier: str, form: str, param: ParamDescriptor, query: Mapping[str, str] | None = None) -> str:
    """The field for `param`, filled in with what `query` has for it."""
    name = escape(param.name)
    given = None if query is None else query.get(param.name)
    attributes = f"name='{name}' id='{identifier}' form='{form}'"
    if param.type is ParamType.ENUM:
        options = "".join(
            f"<option value='{escape(each)}'{' selected' if each == given else ''}>{escape(each)}</option>"
            for each in param.choices
        )
        field = f"<select {attributes}>{options}</select>"
    elif param.type is ParamType.BOOLEAN:
        field = f"<input type='checkbox' {attributes}{'' if given is None else ' checked'} />"
    else:
        field = f"<input type='text' {attributes} value='{escape(given or '')}' />"
    return (
        f"<tr><td class='option'>{field}</td>"
        f"<td class='home-data'><label for='{identifier}'>{escape(param.help)}</label></td></tr>\n"
    )
