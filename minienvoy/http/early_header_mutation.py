"""Changes to a request before anything else looks at its headers.

Envoy: `Http::EarlyHeaderMutation`, category `envoy.http.early_header_mutation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..registry import Registry
from ..stream_info import StreamInfo
from .header_map import RequestHeaderMap

Mutate = Callable[[RequestHeaderMap, StreamInfo], None]

EARLY_HEADER_MUTATION: Final[Registry[Callable[[Any, Any], Mutate]]] = Registry("envoy.http.early_header_mutation")
"""(configuration, `ServerContext`) -> what changes headers."""
