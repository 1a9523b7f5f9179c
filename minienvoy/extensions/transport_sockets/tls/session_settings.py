"""Whether and how clients may go on with a session that they had.

Envoy: `ServerContextConfigImpl::getSessionTicketKeys`, `ServerContextImpl::ServerContextImpl`.

Tickets are encrypted by a key of this process, in Envoy, too, unless `session_ticket_keys` are configured. Those are
what several proxies share; neither Python's `ssl` nor pyOpenSSL can be given keys, so a client that comes with a ticket
of another proxy has a whole handshake.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.data_source import read_data_source
from ....config.fields import honours
from ....errors import ConfigError

_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3"
_KEY_SIZE: Final = 80
_KEYS: Final = "tickets are encrypted by a key of this process: one of another proxy leads to a whole handshake"

honours(
    f"{_TYPE}.DownstreamTlsContext",
    "disable_stateless_session_resumption",
    "disable_stateful_session_resumption",
    "session_timeout",
    ignored={"session_ticket_keys": _KEYS, "session_ticket_keys_sds_secret_config": _KEYS},
)
honours(f"{_TYPE}.TlsSessionTicketKeys", ignored={"keys": _KEYS})


class SessionSettings:
    """Of one context.

    Attributes:
        tickets: clients get tickets.
        kept: sessions are kept here for clients without one.
        timeout: seconds; None for that of the library.
    """

    def __init__(self, config: Any, path: str) -> None:
        for at, each in enumerate(config.session_ticket_keys.keys):
            where = f"{path}.session_ticket_keys.keys[{at}]"
            size = len(read_data_source(each, where, allow_empty=False))
            if size != _KEY_SIZE:
                raise ConfigError(
                    f"Incorrect TLS session ticket key length. Length {size}, expected length {_KEY_SIZE}.", where
                )
        self.tickets = not config.disable_stateless_session_resumption
        self.kept = not config.disable_stateful_session_resumption
        self.timeout: float | None = None
        if config.HasField("session_timeout"):
            self.timeout = config.session_timeout.seconds + config.session_timeout.nanos / 1e9
            if self.timeout < 0:
                raise ConfigError("Invalid duration: Expected positive duration", f"{path}.session_timeout")

    @property
    def needs_library(self) -> bool:
        """Python's `ssl` can only be told to give no tickets."""
        return not self.kept or self.timeout is not None
