"""For the tests of who uses minienvoy: upstreams with a script, certificates, a pytest plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..network.certificate_authority import CertificateAuthority


def ca(common_name: str = "minienvoy test CA") -> CertificateAuthority:
    """A new certificate authority, in memory: `ca().issue("users.test")`."""
    from ..network.certificate_authority import CertificateAuthority

    return CertificateAuthority(common_name)
