"""`%METADATA(...)%` as an extension: it has become a command of its own, and adds nothing any more.

Envoy: `envoy.formatter.metadata` (`source/extensions/formatter/metadata`).
"""

from __future__ import annotations

from typing import Any

from ...access_log.command import CommandTable
from ...access_log.formatter import FORMATTERS
from ...config.fields import honours

CONFIG_TYPE = "envoy.extensions.formatter.metadata.v3.Metadata"

honours(CONFIG_TYPE)


@FORMATTERS.register("envoy.formatter.metadata", CONFIG_TYPE)
def create_metadata(config: Any) -> CommandTable:
    return {}
