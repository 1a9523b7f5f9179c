"""Writes the keys of sessions into a file, for tools that decrypt what was captured.

Envoy: `Extensions::TransportSockets::Tls::SslSocket::drainErrorQueue`'s neighbour `keylogCallback`;
`envoy.extensions.transport_sockets.tls.v3.TlsKeyLog`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....network.cidr import CidrSet

if TYPE_CHECKING:
    from ....network.address import Address

_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3.TlsKeyLog"

honours(_TYPE, "path", "local_address_range", "remote_address_range")


class KeyLog:
    """A file that only its owner can read; it is added to."""

    def __init__(self, config: Any, path: str) -> None:
        where = f"{path}.key_log"
        self._local = CidrSet.from_protos(config.local_address_range, f"{where}.local_address_range")
        self._remote = CidrSet.from_protos(config.remote_address_range, f"{where}.remote_address_range")
        try:
            self._file = os.open(config.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(
                f"unable to open file '{config.path}': {os.strerror(error.errno or 0)}", f"{where}.path"
            ) from None

    def __del__(self) -> None:
        descriptor = getattr(self, "_file", -1)
        if descriptor >= 0:
            os.close(descriptor)

    def write(self, local: Address | None, remote: Address | None, line: bytes) -> None:
        if _in_range(self._local, local) and _in_range(self._remote, remote):
            os.write(self._file, line + b"\n")


def _in_range(ranges: CidrSet, address: Address | None) -> bool:
    return not ranges or (address is not None and address in ranges)
