"""What an authorization server has decided, whichever protocol it speaks.

Envoy: `Filters::Common::ExtAuthz::Response`, `CheckStatus`, `RequestCallbacks`.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Protocol

Header = tuple[bytes, bytes]
FORBIDDEN: Final = 403


class CheckStatus(Enum):
    OK = 1
    ERROR = 2
    """Nobody could be asked, or the server says that it can not tell."""
    DENIED = 3


class Response:
    """One decision. Names and values are as the server gave them: whoever uses them looks at them first.

    Attributes:
        headers_to_set: of the request, if it is allowed; of the local reply, if it is not.
        headers_to_add: behind those of the same name.
        headers_to_append: to the value of one that the request has; there is none without.
        response_headers_to_...: of the response to what is allowed.
        invalid_action: a header came with an action that there is not.
        body, status: of the local reply; a `status` of 0 leaves it to the filter.
        dynamic_metadata: for other filters and for logs.
        grpc_status: of the call, or of the decision in it; None if the server does not speak gRPC.
    """

    __slots__ = (
        "body",
        "dynamic_metadata",
        "grpc_status",
        "headers_to_add",
        "headers_to_append",
        "headers_to_remove",
        "headers_to_set",
        "invalid_action",
        "query_parameters_to_remove",
        "query_parameters_to_set",
        "response_headers_to_add",
        "response_headers_to_add_if_absent",
        "response_headers_to_overwrite_if_exists",
        "response_headers_to_set",
        "status",
        "status_code",
    )

    def __init__(self, status: CheckStatus, status_code: int = 0) -> None:
        self.status = status
        self.status_code = status_code
        self.body = b""
        self.headers_to_set: list[Header] = []
        self.headers_to_add: list[Header] = []
        self.headers_to_append: list[Header] = []
        self.headers_to_remove: list[bytes] = []
        self.response_headers_to_add: list[Header] = []
        self.response_headers_to_set: list[Header] = []
        self.response_headers_to_add_if_absent: list[Header] = []
        self.response_headers_to_overwrite_if_exists: list[Header] = []
        self.query_parameters_to_set: list[tuple[bytes, bytes]] = []
        self.query_parameters_to_remove: list[bytes] = []
        self.dynamic_metadata: dict[str, Any] = {}
        self.invalid_action = False
        self.grpc_status: int | None = None

    @property
    def changes_request(self) -> bool:
        """There is something that could lead the request elsewhere; added headers alone do not count."""
        return bool(
            self.headers_to_set
            or self.headers_to_append
            or self.headers_to_remove
            or self.query_parameters_to_set
            or self.query_parameters_to_remove
        )


class RequestCallbacks(Protocol):
    """Who has asked; perhaps called before `check` returns, and exactly once unless the question is cancelled."""

    def on_complete(self, response: Response) -> None: ...


class Call(Protocol):
    """A question that is under way."""

    def reset(self) -> None:
        """Give it up; nothing more is told."""
