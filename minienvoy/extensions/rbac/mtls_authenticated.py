"""`envoy.rbac.principals.mtls_authenticated`: a client whose certificate was checked, and perhaps has a certain name.

Envoy: `Filters::Common::RBAC::Principals::MtlsAuthenticatedMatcher`.
"""

from __future__ import annotations

from typing import Any, Final

from ...config.fields import honours
from ...errors import ConfigError
from ...network.x509 import OTHER_NAME
from ..filters.common.rbac.rules import PRINCIPALS, Rule
from ..transport_sockets.tls.cert_validator import SAN_TYPES, compile_san_matcher

TYPE: Final = "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"

honours(TYPE, "san_matcher", "any_validated_client_certificate")


@PRINCIPALS.register("envoy.rbac.principals.mtls_authenticated", TYPE)
def create_mtls_authenticated(config: Any) -> Rule:
    if not config.HasField("san_matcher"):
        if not config.any_validated_client_certificate:
            problem = (
                "envoy.rbac.principals.mtls_authenticated did not have any configured validation. "
                "At least one configuration field must be set."
            )
            raise ConfigError(problem, "")
        return lambda headers, stream, below: below.ssl is not None and below.ssl.validated
    san = config.san_matcher
    if san.san_type not in SAN_TYPES:
        raise ConfigError("unhandled value for san_type", "san_matcher.san_type")
    if SAN_TYPES[san.san_type] == OTHER_NAME and not san.oid:
        raise ConfigError("Failed to create SAN matcher for OTHER_NAME with OID: ", "san_matcher")
    matches = compile_san_matcher(san.matcher, "san_matcher.matcher", SAN_TYPES[san.san_type], san.oid)

    def holds(headers: Any, stream: Any, below: Any) -> bool:
        ssl = below.ssl
        return ssl is not None and ssl.validated and ssl.peer_certificate is not None and matches(ssl.peer_certificate)

    return holds
