"""What an HTTP/1 codec may be told.

Envoy: `Http::Http1Settings`.
"""

from __future__ import annotations

from collections.abc import Callable

from ...record import record
from .header_formatter import KeyFormatter, MakeStatefulFormatter

ALLOW_UNDERSCORES, REJECT_UNDERSCORES, DROP_UNDERSCORES = 0, 1, 2


@record
class Http1Settings:
    """Defaults are Envoy's; sizes are bytes.

    Attributes:
        max_headers_size: the whole head of a message (`max_request_headers_kb`).
        underscores: what to do with a name that has one (`headers_with_underscores_action`).
        key_formatter: for headers that carry none of their own; None sends names as they are, in lower case.
        make_key_formatter: for each head that is read; its headers carry what it makes.
    """

    allow_absolute_url: bool = True
    accept_http_10: bool = False
    default_host_for_http_10: bytes = b""
    enable_trailers: bool = False
    allow_chunked_length: bool = False
    allow_custom_methods: bool = False
    max_headers_size: int = 60 * 1024
    max_headers_count: int = 100
    underscores: int = ALLOW_UNDERSCORES
    key_formatter: KeyFormatter | None = None
    make_key_formatter: MakeStatefulFormatter | None = None
    send_fully_qualified_url: bool = False
    stream_error_on_invalid_http_message: bool = False
    """A request that is refused as a bad one (400) does not end its connection, if it is HTTP at all."""
    ignored_upgrades: tuple[Callable[[bytes], bool], ...] = ()
    """Upgrades that are taken out of requests (`ignore_http_11_upgrade`), which then are none."""
    validate_scheme: bool = False
    """Refuse `https://` targets on a plain connection: an edge does, for nobody in front of it has ended TLS."""
