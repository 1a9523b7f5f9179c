"""Commands about TLS sessions and certificates.

Envoy: `StreamInfoSslConnectionInfoFormatterProvider` and its upstream sister. Connections are plain so far, and on a
plain connection Envoy has nothing to say here either.
"""

from __future__ import annotations

from typing import Final

from ..errors import ConfigError
from ..stream_info import StreamInfo
from .command import PARAMS_OPTIONAL, Arguments, Command, CommandTable, command, reads, simple, wire
from .context import FormatterContext
from .date_formatter import compile_date_format

_NAMES: Final = (
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_PEER_CERT",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
)


def _nothing(info: StreamInfo) -> None:
    return None


COMMANDS: Final[CommandTable] = reads(dict.fromkeys(_NAMES, _nothing))


def _certificate_time(arguments: Arguments) -> Command:
    compile_date_format(arguments.argument)
    return simple(lambda context: None)


for _side in ("DOWNSTREAM", "UPSTREAM"):
    for _end in ("START", "END"):
        COMMANDS[f"{_side}_PEER_CERT_V_{_end}"] = (PARAMS_OPTIONAL, _certificate_time)


@command(COMMANDS, "REQUESTED_SERVER_NAME", PARAMS_OPTIONAL)
def _requested_server_name(arguments: Arguments) -> Command:
    """The SNI, or the host of the request, in the order that the first word says."""
    order, _, rest = arguments.argument.partition(":")
    source = rest.partition(":")[0]
    if order not in ("", "SNI_ONLY", "SNI_FIRST", "HOST_FIRST"):
        raise ConfigError(
            f"Invalid REQUESTED_SERVER_NAME option: '{order}', only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed"
        )
    if source not in ("", "ORIG", "HOST", "ORIG_OR_HOST"):
        raise ConfigError(
            f"Invalid REQUESTED_SERVER_NAME option: '{source}', only 'ORIG_OR_HOST'/'HOST'/'ORIG' are allowed"
        )
    names = {"ORIG": (b"x-envoy-original-host",), "HOST": (b":authority",)}.get(
        source, (b"x-envoy-original-host", b":authority")
    )

    def sni(context: FormatterContext) -> str | None:
        return wire(context.stream_info.connection.requested_server_name) or None

    def host(context: FormatterContext) -> str | None:
        for name in names:
            value = context.request_headers.get(name)
            if value:
                return value.decode("latin-1")
        return None

    if order == "HOST_FIRST":
        return simple(lambda context: host(context) or sni(context))
    if order == "SNI_FIRST":
        return simple(lambda context: sni(context) or host(context))
    return simple(sni)
