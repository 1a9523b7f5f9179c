"""TLVs that a configuration adds to PROXY headers: a value each, or a format of what is known of a connection.

Envoy: `Extensions::Common::ProxyProtocol` (`parseTLVs`), `TcpProxy::Config::SharedConfig`;
`envoy.config.core.v3.TlvEntry`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ...access_log.context import FormatterContext, Sources
from ...access_log.substitution_format_string import CompiledFormat, compile_substitution_format
from ...config.fields import honours
from ...errors import ConfigError
from ...network.proxy_protocol_header import Tlv, header_of

if TYPE_CHECKING:
    from ...stream_info import ConnectionInfo, StreamInfo

honours("envoy.config.core.v3.TlvEntry", "type", "value", "format_string")

ADD_IF_ABSENT, OVERWRITE_BY_TYPE, APPEND = 0, 1, 2
"""`TcpProxy.ProxyProtocolTlvMergePolicy`."""
_LARGEST_TYPE: Final = 255


class AddedTlvs:
    """Those of one configuration.

    Attributes:
        types: of all of them.
    """

    def __init__(self, entries: Any, path: str, sources: Sources | None = None, *, once: bool = False) -> None:
        """`once`: of several values of one type the first counts.

        Raises:
            ConfigError: one says nothing, or contradicts itself.
        """
        self._values: list[Tlv] = []
        self._formats: list[tuple[int, CompiledFormat]] = []
        for at, each in enumerate(entries):
            where = f"{path}[{at}]"
            formatted = each.HasField("format_string")
            if each.value and formatted:
                raise ConfigError(
                    "Invalid TLV configuration: only one of 'value' or 'format_string' may be set.", where
                )
            if formatted:
                compiled = compile_substitution_format(each.format_string, sources, f"{where}.format_string")
                self._formats.append((each.type, compiled))
            elif not each.value:
                raise ConfigError("Invalid TLV configuration: one of 'value' or 'format_string' must be set.", where)
            elif not (once and any(kind == each.type for kind, _ in self._values)):
                self._values.append((each.type, each.value))
        self.types = frozenset(kind for kind, _ in (*self._values, *self._formats))

    def __bool__(self) -> bool:
        return bool(self.types)

    def of(self, info: StreamInfo) -> list[Tlv]:
        """For the connection that `info` tells of; a format that comes to nothing is left out."""
        tlvs = list(self._values)
        if self._formats:
            context = FormatterContext(info)
            texts = ((kind, each.format(context).encode("latin-1")) for kind, each in self._formats)
            tlvs += [(kind, text) for kind, text in texts if text]
        return tlvs


class TlvsOfTcpProxy:
    """What a TCP proxy adds to what a client has said itself."""

    def __init__(self, added: AddedTlvs, policy: int) -> None:
        self._added = added
        self._policy = policy

    def add_to(self, connection: ConnectionInfo, info: StreamInfo) -> None:
        """`info` tells of the same downstream connection."""
        told = connection.proxy_header
        if told is not None and self._policy == ADD_IF_ABSENT:
            return
        header = header_of(connection)
        if header is None:
            return
        added, tlvs = self._added.of(info), header.tlvs
        if self._policy == OVERWRITE_BY_TYPE:
            merged = [*added, *(each for each in tlvs if each[0] not in self._added.types)]
        else:
            merged = [*tlvs, *added]
        connection.proxy_header = replace(header, tlvs=tuple(merged))
