"""`envoy.http.injected_credentials.generic`: a secret that is a header's value as it stands.

Envoy: `Extensions::Http::InjectedCredentials::Generic::GenericCredentialInjector`; docs "Generic Credential".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....http.header_map import entry, suspect
from .credential import INJECTED_CREDENTIALS, Injection, SecretReader

if TYPE_CHECKING:
    from ....http.header_map import RequestHeaderMap
    from ....server.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.http.injected_credentials.generic.v3.Generic"

honours(TYPE, "credential", "header", "header_value_prefix")


class GenericCredentialInjector:
    def __init__(self, reader: SecretReader, header: bytes, prefix: bytes) -> None:
        self._reader = reader
        self._header = header
        self._prefix = prefix

    def inject(self, headers: RequestHeaderMap, overwrite: bool) -> Injection:
        if not overwrite and headers.has(self._header):
            return Injection.ALREADY_EXISTS
        credential = self._reader.credential
        if not credential:
            return Injection.FAILED
        headers.remove(self._header)
        # A secret may be no value of a header; who sends the request finds out.
        headers.add_entry(suspect(entry(self._header, self._prefix + credential)))
        return Injection.INJECTED


@INJECTED_CREDENTIALS.register("envoy.http.injected_credentials.generic", TYPE)
def create_generic_credential(proto: Any, context: FactoryContext) -> GenericCredentialInjector:
    reader = SecretReader(proto.credential, context, "credential")
    header = proto.header.lower() or "authorization"
    return GenericCredentialInjector(reader, header.encode(), proto.header_value_prefix.encode())
