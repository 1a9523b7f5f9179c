"""A rate limit action that is an input of match trees: its value, under the name of the extension.

Envoy: `Router::MatchInputRateLimitDescriptor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config.extension import create_extension, find_extension
from ..http.matching import HTTP_INPUTS, HttpMatchingData

if TYPE_CHECKING:
    from .rate_limit import Action, Entry, Subject


def input_action(proto: Any, path: str, server: Any) -> Action:
    """From a `TypedExtensionConfig`.

    Raises:
        ConfigError: nobody takes it.
    """
    read = create_extension(find_extension(HTTP_INPUTS, proto, path), proto, path, server)
    key = proto.name

    def action(subject: Subject) -> Entry | None:
        value = read(HttpMatchingData(subject.stream, subject.headers))
        # What is not there, or is empty, or has not come yet, is no reason to limit anybody.
        return (key, value.decode("latin-1")) if isinstance(value, bytes) and value else None

    return action
