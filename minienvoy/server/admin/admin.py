"""The admin interface: who answers which path.

Envoy: `Server::AdminImpl` (`source/server/admin/admin.cc`); docs "Administration interface". As in Envoy the interface
is a listener with a connection manager and a single filter (`admin_filter.py`); this module knows nothing of sockets:
`Admin.run` takes a whole request and gives a whole answer.

`url_handlers.py` says what there is; what each path does is in a module per subject, `*_handler.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .request import HTML, AdminRequest, AdminResponse, text_response

if TYPE_CHECKING:
    from .admin_server import AdminServer
    from .config_tracker import ConfigTracker
    from .url_handler import AdminHandler, ParamDescriptor, UrlHandler


class Admin:
    """The registry of handlers, and the way to them.

    `allow_path` says which targets (path and query) are answered at all; None for every one.
    """

    def __init__(self, server: AdminServer, allow_path: Callable[[str], bool] | None = None) -> None:
        self._server = server
        self._allow_path = allow_path
        self._made: dict[str, UrlHandler] | None = None
        self._config_tracker: ConfigTracker | None = None

    @property
    def config_tracker(self) -> ConfigTracker:
        """Who tells what for `/config_dump`; subscriptions add themselves."""
        if self._config_tracker is None:
            from .config_tracker import ConfigTracker

            self._config_tracker = ConfigTracker(self._server)
        return self._config_tracker

    @property
    def _handlers(self) -> dict[str, UrlHandler]:
        # Not when the server starts: twenty modules are a fifth of its start-up time, and many servers are never asked.
        if self._made is None:
            from .url_handlers import make_url_handlers

            made = make_url_handlers(self._server, self.config_tracker, self.handler_admin_home, self.handler_help)
            self._made = {handler.prefix: handler for handler in made}
        return self._made

    def add_handler(
        self,
        prefix: str,
        help_text: str,
        callback: AdminHandler,
        *,
        removable: bool = True,
        mutates_server_state: bool = False,
        params: tuple[ParamDescriptor, ...] = (),
    ) -> bool:
        """Answer `prefix`, a whole path; False if it is taken or has characters that do not belong into a link."""
        if prefix in self._handlers or not prefix.startswith("/") or any(char in "&\"'<>" for char in prefix):
            return False
        from .url_handler import UrlHandler

        self._handlers[prefix] = UrlHandler(prefix, help_text, callback, removable, mutates_server_state, params)
        return True

    def remove_handler(self, prefix: str) -> bool:
        """Stop to answer what `add_handler` added; False if there is no such handler or it must stay."""
        handler = self._handlers.get(prefix)
        if handler is None or not handler.removable:
            return False
        del self._handlers[prefix]
        return True

    def handlers(self) -> list[UrlHandler]:
        """All of them, by path."""
        return [self._handlers[prefix] for prefix in sorted(self._handlers)]

    def run(self, request: AdminRequest) -> AdminResponse:
        """Answer one request."""
        if self._allow_path is not None and not self._allow_path(request.target):
            return text_response(f"request to path {request.target} not allowed", 403)
        handler = self._handlers.get(request.path)
        if handler is None:
            return text_response(f"invalid path. {self._help()}", 404)
        if handler.mutates_server_state and request.method != "POST":
            return text_response(f"Method {request.method} not allowed, POST required.", 405)
        return handler.callback(request)

    def handler_help(self, request: AdminRequest) -> AdminResponse:
        return text_response(self._help())

    def handler_admin_home(self, request: AdminRequest) -> AdminResponse:
        from .admin_html import home_page

        return text_response(home_page([each for each in self.handlers() if each.prefix != "/"]), content_type=HTML)

    def _help(self) -> str:
        lines = ["admin commands are:\n"]
        for handler in self.handlers():
            if not handler.listed:
                continue
            post = " (POST)" if handler.mutates_server_state else ""
            lines.append(f"  {handler.prefix}{post}: {handler.help}\n")
            for param in handler.params:
                choices = f"; One of ({', '.join(param.choices)})" if param.choices else ""
                lines.append(f"      {param.name}: {param.help}{choices}\n")
        return "".join(lines)
