"""What the server is and how it is: `/ready`, `/server_info`, `/memory`, `/certs`, `/hot_restart_version`.

Envoy: `Server::ServerInfoHandler` (`source/server/admin/server_info_handler.cc`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ..local_info import add_extensions
from ..memory import read_memory_stats
from .request import AdminRequest, AdminResponse, json_response, text_response

if TYPE_CHECKING:
    from ...network.x509 import Certificate
    from .admin_server import AdminServer


_SAN_FIELDS: Final = {2: "dns", 6: "uri", 7: "ip_address"}
"""Tags of `GeneralName` to fields of `SubjectAlternateName`."""


class ServerInfoHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_ready(self, request: AdminRequest) -> AdminResponse:
        state = self._state()
        return text_response(f"{state}\n", 200 if state == "LIVE" else 503)

    def handler_server_info(self, request: AdminRequest) -> AdminResponse:
        """`envoy.admin.v3.ServerInfo`, with every field, set or not."""
        from ...version import version
        from .proto_json import REDACTED, ProtoPrinter

        server = self._server
        uptime = f"{int(server.dispatcher.monotonic_time() - server.start_monotonic)}s"
        add_extensions(server.node)
        options = server.options.command_line_options()
        if _has_secrets(str(options["config_yaml"])):
            options["config_yaml"] = REDACTED
        node: dict[str, Any] = ProtoPrinter(always_print_fields=True).message(server.node)
        return json_response(
            {
                "version": version(),
                "state": self._state(),
                "uptime_current_epoch": uptime,
                "uptime_all_epochs": uptime,
                "hot_restart_version": "disabled",
                "command_line_options": options,
                "node": node,
                "hot_restart_initializing": False,
            }
        )

    def handler_memory(self, request: AdminRequest) -> AdminResponse:
        """`envoy.admin.v3.Memory`; what only an allocator like Envoy's knows is 0."""
        memory = read_memory_stats()
        return json_response(
            {
                "allocated": str(memory.allocated),
                "heap_size": str(memory.heap_size),
                "pageheap_unmapped": "0",
                "pageheap_free": "0",
                "total_thread_cache": "0",
                "total_physical_bytes": str(memory.physical),
            }
        )

    def handler_certs(self, request: AdminRequest) -> AdminResponse:
        """The certificates of every TLS context; never a key."""
        secrets = self._server.secrets
        contexts = [] if secrets is None else [context.shown_certificates for context in secrets.contexts]
        now = self._server.dispatcher.wall_time()
        shown = [
            {
                "ca_cert": [_shown(path, each, now) for path, each in context.authorities],
                "cert_chain": [_shown(path, each, now) for path, each in context.own],
            }
            for context in sorted(contexts, key=repr)
        ]
        return json_response({"certificates": shown})

    def handler_hot_restart_version(self, request: AdminRequest) -> AdminResponse:
        return text_response("disabled")

    def _state(self) -> str:
        server = self._server
        if server.state == "LIVE" and server.health_check_failed:
            return "DRAINING"
        return server.state


def _has_secrets(config_yaml: str) -> bool:
    """Of a text that a server has started with; Envoy shows it as it is."""
    if not config_yaml:
        return False
    from ...config.loader import BOOTSTRAP, load_message
    from .proto_json import ProtoPrinter

    message = load_message(config_yaml, BOOTSTRAP, allow_unknown_fields=True).message
    return bool(ProtoPrinter(redact=True).message(message) != ProtoPrinter().message(message))


def _shown(path: str, certificate: Certificate, now: float) -> dict[str, Any]:
    """As `envoy.admin.v3.CertificateDetails`."""
    names = [{_SAN_FIELDS[kind]: value} for kind, value, _ in certificate.subject_alt_names if kind in _SAN_FIELDS]
    return {
        "path": path,
        "serial_number": certificate.serial_number,
        "subject_alt_names": names,
        "days_until_expiration": str(max(0, int(certificate.not_after - now) // 86400)),
        "valid_from": _timestamp(certificate.not_before),
        "expiration_time": _timestamp(certificate.not_after),
    }


def _timestamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
