"""Whom this system trusts: what `system_root_certs` stands for.

No Envoy counterpart: Envoy 1.40 takes the field and verifies nothing for it. Here it is what it looks like.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import Final

from ....errors import ConfigError

_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Of Debian and Alpine, Fedora, openSUSE, later Red Hat, and the BSDs."""
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[\x00-\x7f]+?-----END CERTIFICATE-----")


def system_authorities(path: str) -> tuple[str, bytes]:
    """(file, PEM): what `SSL_CERT_FILE` names, or OpenSSL's own, or the first of the places where systems have it.

    Raises:
        ConfigError: there is none. `path` is the place in the configuration.
    """
    named = os.environ.get("SSL_CERT_FILE")
    for name in (named,) if named else (ssl.get_default_verify_paths().cafile, *_BUNDLES):
        if not name:
            continue
        try:
            with open(name, "rb") as file:  # noqa: PTH123 (importing pathlib costs 5 ms)
                data = file.read()
        except OSError:
            continue
        # Without the comments between them, which need not be ASCII.
        if certificates := _CERTIFICATE.findall(data):
            return name, b"\n".join(certificates) + b"\n"
    raise ConfigError(
        "this system has no certificates of authorities" + (f" in {named}" if named else ""),
        path,
        remedy="name a bundle in trusted_ca, or in the environment as SSL_CERT_FILE",
    )
