"""Whether and how clients may go on with a session that they had.

Envoy: `ServerContextConfigImpl::getSessionTicketKeys`, `ServerContextImpl::ServerContextImpl`,
`ServerContextImpl::generateHashForSessionContextId`.

Tickets are encrypted by a key of this process unless `session_ticket_keys` are configured, which are what several
proxies share (`tls.ticket_keys`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from .... import logger
from ....config.data_source import read_data_source
from ....config.fields import honours
from ....errors import ConfigError
from ....network.x509 import DNS, IP, URI
from .native_context import library, native
from .ticket_keys import KEY_SIZE, TicketKeys

if TYPE_CHECKING:
    import ssl

    from .cert_validator import CertValidator
    from .certificate import TlsCertificate

log = logger.get("config")
_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3"

honours(
    f"{_TYPE}.DownstreamTlsContext",
    "disable_stateless_session_resumption",
    "disable_stateful_session_resumption",
    "session_timeout",
    "session_ticket_keys",
)
honours(f"{_TYPE}.TlsSessionTicketKeys", "keys")


class SessionSettings:
    """Of one context.

    Attributes:
        tickets: clients get tickets.
        kept: sessions are kept here for clients without one.
        timeout: seconds; None for that of the library.
    """

    def __init__(self, config: Any, path: str) -> None:
        keys: list[bytes] = []
        for at, each in enumerate(config.session_ticket_keys.keys):
            where = f"{path}.session_ticket_keys.keys[{at}]"
            key = read_data_source(each, where, allow_empty=False)
            if len(key) != KEY_SIZE:
                raise ConfigError(
                    f"Incorrect TLS session ticket key length. Length {len(key)}, expected length {KEY_SIZE}.", where
                )
            keys.append(key)
        self._keys = TicketKeys(keys) if keys and library() is not None else None
        self._path = f"{path}.session_ticket_keys"
        if keys and self._keys is None:
            self._tell_of_no_effect("the library of Python's ssl can not be reached")
        self.tickets = not config.disable_stateless_session_resumption
        self.kept = not config.disable_stateful_session_resumption
        self.timeout: float | None = None
        if config.HasField("session_timeout"):
            self.timeout = config.session_timeout.seconds + config.session_timeout.nanos / 1e9
            if self.timeout < 0:
                raise ConfigError("Invalid duration: Expected positive duration", f"{path}.session_timeout")

    @property
    def needs_library(self) -> bool:
        """Python's `ssl` itself can only be told to give no tickets."""
        return library() is None and (not self.kept or self.timeout is not None)

    def apply(self, context: ssl.SSLContext, scope: bytes) -> None:
        """To one of Python's contexts; sessions of another `scope` are not gone on with."""
        told = native(context)
        if told is None:
            return
        told.limit_sessions(kept=self.kept, timeout=self.timeout)
        if self._keys is not None:
            told.set_session_scope(scope)
            self._keys.give_to(told)

    def do_without_keys(self) -> None:
        """The contexts are pyOpenSSL's."""
        if self._keys is not None:
            self._tell_of_no_effect("what else is configured needs pyOpenSSL, which takes no keys")

    def _tell_of_no_effect(self, reason: str) -> None:
        log.warning(f"{self._path}: tickets of other proxies lead to a whole handshake: {reason}")


def session_scope(
    certificates: Iterable[TlsCertificate], validator: CertValidator, server_names: Sequence[str], required: bool
) -> bytes:
    """Where sessions may be gone on with: at whoever has the same names and checks clients in the same way, but
    possibly with another certificate of the same authority. Otherwise a client that was checked by one listener would
    be let in unchecked by another that shares its keys."""
    digest = sha256()

    def add(*parts: bytes | str) -> None:
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            digest.update(len(data).to_bytes(4, "big") + data)

    for each in certificates:
        shown = each.certificate
        add("certificate", *each.names, *shown.names(URI), *shown.names(DNS), *shown.names(IP), shown.issuer)
    add("checks", bytes((required,)), validator.settings, validator.trusted_ca, validator.crl)
    add("authorities", *(each.der for each in validator.authorities))
    add("names", *server_names)
    return digest.digest()
