"""`envoy.request_id.uuid`: random UUIDs, one digit of which says why a request is traced.

Envoy: `source/extensions/request_id/uuid/config.cc`.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....http.request_id import REQUEST_ID, RequestIdSettings

CONFIG_TYPE: Final = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"

honours(CONFIG_TYPE, "pack_trace_reason", "use_request_id_for_trace_sampling")


@REQUEST_ID.register("envoy.request_id.uuid", CONFIG_TYPE)
def create_uuid_request_id(config: Any) -> RequestIdSettings:
    def is_on(field: str) -> bool:
        return not config.HasField(field) or bool(getattr(config, field).value)

    return RequestIdSettings(is_on("pack_trace_reason"), is_on("use_request_id_for_trace_sampling"))
