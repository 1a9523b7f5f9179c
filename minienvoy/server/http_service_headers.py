"""Headers that a request to an `HttpService` has of the configuration.

Envoy: `Http::HttpServiceHeadersApplicator`. There is one way to add a header here, whatever `append_action` and
`keep_empty_value` say: it replaces what was there, at the end. Values are formats that know no stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from ..access_log.context import FormatterContext
from ..errors import ConfigError
from ..http.header_map import RequestHeaderMap, entry, suspect
from ..stream_info import StreamInfo

if TYPE_CHECKING:
    from ..access_log.context import Sources
    from ..access_log.formatter import Formatter

_ATTRIBUTES: Final = {
    b":authority": "authority",
    b":method": "method",
    b":path": "path",
    b":scheme": "scheme",
    b"host": "authority",
}


class HttpServiceHeaders:
    """Compiled once, added to every request."""

    def __init__(self, options: Iterable[Any], path: str, sources: Sources | None) -> None:
        """From `HeaderValueOption`s; raises ConfigError below `path`."""
        from ..access_log.formatter import compile_format

        empty: list[tuple[bytes, Formatter]] = []
        others: list[tuple[bytes, Formatter]] = []
        for at, option in enumerate(options):
            where = f"{path}[{at}].header"
            name, value = option.header.key.lower().encode(), option.header.value
            if name[:1] == b":" and name not in _ATTRIBUTES:
                raise ConfigError(f"there is no pseudo-header {name.decode()}", f"{where}.key")
            formatter = compile_format(value, sources, path=f"{where}.value")
            (others if value else empty).append((name, formatter))
        self._additions = (*empty, *others)

    def apply(self, headers: RequestHeaderMap) -> None:
        context = FormatterContext(StreamInfo())
        for name, formatter in self._additions:
            value = formatter.format(context).encode("latin-1", "replace")
            attribute = _ATTRIBUTES.get(name)
            if attribute is not None:
                setattr(headers, attribute, value)
            else:
                headers.remove(name)
                headers.add_entry(suspect(entry(name, value)))
