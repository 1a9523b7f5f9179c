"""Inputs of match trees that read the peer's certificate.

Envoy: `source/extensions/matching/common_inputs/ssl/inputs.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.fields import honours
from ...http.matching import HTTP_INPUTS, ConnectionData
from ...matchers.match_tree import NOT_AVAILABLE, MatchInput
from ...server.filter_chain_matcher import NETWORK_INPUTS

_TYPE = "envoy.extensions.matching.common_inputs.ssl.v3"


def _fact(name: str) -> Callable[[Any, Any], MatchInput]:
    def read(data: ConnectionData) -> Any:
        ssl = data.info.ssl
        if ssl is None:
            # As if it could still come: such a tree gives nothing on a plain connection.
            return NOT_AVAILABLE
        value = getattr(ssl, name)
        if isinstance(value, (list, tuple)):
            value = ",".join(value)
        return value.encode() if value else None

    return lambda config, server: read


for _name, _short, _attribute in (
    ("UriSanInput", "uri_san", "uri_san_peer_certificate"),
    ("DnsSanInput", "dns_san", "dns_sans_peer_certificate"),
    ("SubjectInput", "subject", "subject_peer_certificate"),
):
    honours(f"{_TYPE}.{_name}")
    for _inputs in (HTTP_INPUTS, NETWORK_INPUTS):
        _inputs.register(f"envoy.matching.inputs.{_short}", f"{_TYPE}.{_name}")(_fact(_attribute))
