"""Which minienvoy this is, in the shape in which Envoy says which Envoy it is.

Envoy: `source/common/version/version.h` (`VersionInfo`). `ENVOY_VERSION` is the release whose behaviour is imitated:
it is what control planes and scripts look at.
"""

from __future__ import annotations

__version__ = "0.1.0"
ENVOY_VERSION = "1.40.0"
REVISION = "0" * 40  # Envoy's own word for a build that does not know its revision
REVISION_STATUS = "Clean"
BUILD_TYPE = "RELEASE"
SSL_VERSION = "OpenSSL"


def version() -> str:
    """`<revision>/<version>/<status>/<build type>/<ssl library>`, as `--version` and `/server_info` have it."""
    return f"{REVISION}/{ENVOY_VERSION}-minienvoy.{__version__}/{REVISION_STATUS}/{BUILD_TYPE}/{SSL_VERSION}"
