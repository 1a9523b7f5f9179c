"""Commands about TLS sessions and certificates.

Envoy: `StreamInfoSslConnectionInfoFormatterProvider` and its upstream sister.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..errors import ConfigError
from ..stream_info import StreamInfo
from .command import PARAMS_OPTIONAL, Arguments, Command, CommandTable, Maker, command, reads, simple, wire
from .context import FormatterContext
from .date_formatter import compile_date_format

Read = Callable[[Any], "str | None"]
"""Takes a `network.ssl_connection_info.SslConnectionInfo`."""


def _joined(name: str) -> Read:
    return lambda ssl: ",".join(map(wire, getattr(ssl, name)))


def _fact(name: str) -> Read:
    return lambda ssl: wire(getattr(ssl, name))


def _of_peer(name: str) -> Read:
    return lambda ssl: getattr(ssl.peer_chain[0], name) if ssl.peer_chain else None


def _of_chain(name: str) -> Read:
    return lambda ssl: ",".join(getattr(each, name) for each in ssl.peer_chain)


def _of_issuer(name: str) -> Read:
    """Of the certificate that the peer's was verified with."""
    return lambda ssl: getattr(ssl.issuer_certificate, name) if ssl.issuer_certificate is not None else None


_DOWNSTREAM: Final[dict[str, Read]] = {
    "LOCAL_IP_SAN": _joined("ip_sans_local_certificate"),
    "PEER_IP_SAN": _joined("ip_sans_peer_certificate"),
    "LOCAL_DNS_SAN": _joined("dns_sans_local_certificate"),
    "PEER_DNS_SAN": _joined("dns_sans_peer_certificate"),
    "LOCAL_URI_SAN": _joined("uri_san_local_certificate"),
    "PEER_URI_SAN": _joined("uri_san_peer_certificate"),
    "LOCAL_EMAIL_SAN": _joined("email_sans_local_certificate"),
    "PEER_EMAIL_SAN": _joined("email_sans_peer_certificate"),
    "LOCAL_OTHERNAME_SAN": _joined("othername_sans_local_certificate"),
    "PEER_OTHERNAME_SAN": _joined("othername_sans_peer_certificate"),
    "LOCAL_SUBJECT": _fact("subject_local_certificate"),
    "PEER_SUBJECT": _fact("subject_peer_certificate"),
    "PEER_ISSUER": _fact("issuer_peer_certificate"),
    "TLS_SESSION_ID": _fact("session_id"),
    "TLS_CIPHER": _fact("ciphersuite"),
    "TLS_GROUP": _fact("group"),
    "TLS_VERSION": _fact("tls_version"),
    "PEER_FINGERPRINT_256": _of_peer("fingerprint_256"),
    "PEER_FINGERPRINT_1": _of_peer("fingerprint_1"),
    "PEER_SERIAL": _of_peer("serial_number"),
    "PEER_CHAIN_FINGERPRINTS_256": _of_chain("fingerprint_256"),
    "PEER_CHAIN_FINGERPRINTS_1": _of_chain("fingerprint_1"),
    "PEER_CHAIN_SERIALS": _of_chain("serial_number"),
    "PEER_ISSUER_FINGERPRINT_256": _of_issuer("fingerprint_256"),
    "PEER_ISSUER_SERIAL": _of_issuer("serial_number"),
    "PEER_CERT": _fact("url_encoded_pem_peer_certificate"),
}
_UPSTREAM: Final[dict[str, Read]] = {
    name: _DOWNSTREAM[name]
    for name in (
        "PEER_SUBJECT",
        "PEER_ISSUER",
        "TLS_SESSION_ID",
        "TLS_CIPHER",
        "TLS_GROUP",
        "TLS_VERSION",
        "PEER_CERT",
        "PEER_URI_SAN",
        "PEER_DNS_SAN",
        "PEER_IP_SAN",
        "LOCAL_URI_SAN",
        "LOCAL_DNS_SAN",
        "LOCAL_IP_SAN",
    )
} | {"SERVER_NAME": _fact("sni")}


def _downstream(read: Read) -> Callable[[StreamInfo], str | None]:
    def text(info: StreamInfo) -> str | None:
        ssl = info.connection.ssl
        return (read(ssl) or None) if ssl is not None else None

    return text


def _upstream(read: Read) -> Callable[[StreamInfo], str | None]:
    def text(info: StreamInfo) -> str | None:
        connection = info.upstream_connection
        if connection is None or connection.ssl is None:
            return None
        return read(connection.ssl) or None

    return text


COMMANDS: Final[CommandTable] = reads(
    {f"DOWNSTREAM_{name}": _downstream(read) for name, read in _DOWNSTREAM.items()}
    | {f"UPSTREAM_{name}": _upstream(read) for name, read in _UPSTREAM.items()}
    | {
        "TLS_JA3_FINGERPRINT": lambda info: info.connection.ja3_hash or None,
        "TLS_JA4_FINGERPRINT": lambda info: info.connection.ja4_hash or None,
    }
)


def _certificate_time(ssl_of: Callable[[StreamInfo], Any], which: str) -> Maker:
    def make(arguments: Arguments) -> Command:
        write = compile_date_format(arguments.argument or "%Y-%m-%dT%H:%M:%E3SZ")

        def text(context: FormatterContext) -> str | None:
            ssl = ssl_of(context.stream_info)
            return write(getattr(ssl.peer_chain[0], which)) if ssl is not None and ssl.peer_chain else None

        return simple(text)

    return make


def _upstream_ssl(info: StreamInfo) -> Any:
    return None if info.upstream_connection is None else info.upstream_connection.ssl


for _end, _which in (("START", "not_before"), ("END", "not_after")):
    COMMANDS[f"DOWNSTREAM_PEER_CERT_V_{_end}"] = (
        PARAMS_OPTIONAL,
        _certificate_time(lambda info: info.connection.ssl, _which),
    )
    COMMANDS[f"UPSTREAM_PEER_CERT_V_{_end}"] = (PARAMS_OPTIONAL, _certificate_time(_upstream_ssl, _which))


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
