"""One admin endpoint: its path, what it is for, what it takes and what answers it.

Envoy: `Server::Admin::UrlHandler`, `ParamDescriptor` (`envoy/server/admin.h`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from ...record import record
from .request import AdminRequest, AdminResponse

AdminHandler = Callable[[AdminRequest], AdminResponse]


class ParamType(Enum):
    """How the home page asks for a parameter."""

    BOOLEAN = 1
    STRING = 2
    ENUM = 3


@record
class ParamDescriptor:
    """A query parameter; `choices` are an enum's, in the order of the home page's list."""

    type: ParamType
    name: str
    help: str
    choices: tuple[str, ...] = ()


@record
class UrlHandler:
    """What answers `prefix`.

    Attributes:
        prefix: the whole path, with its leading slash, without a query.
        removable: `Admin.remove_handler` may take it away again.
        mutates_server_state: only POST will do.
        listed: `/help` names it; ours are not listed there, so that the page is Envoy's.
    """

    prefix: str
    help: str
    callback: AdminHandler
    removable: bool = False
    mutates_server_state: bool = False
    params: tuple[ParamDescriptor, ...] = ()
    listed: bool = True
