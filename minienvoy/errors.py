"""Every exception minienvoy raises on purpose, by who is at fault.

Envoy: `EnvoyException` (bad configuration) and `Http::CodecProtocolException` (bad peer). As in Envoy, the data
plane does not use exceptions for flow: a request that can not be served gets a local reply or a stream reset.
"""

from __future__ import annotations

import re

from .lazy_pattern import lazy_pattern

_PRIVATE_KEY = lazy_pattern(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_WORD = lazy_pattern(r"[A-Za-z0-9+/]{20,}={0,2}")
_LONG_WORD = 56
_HIDDEN = "[redacted]"


def hide_keys(text: str, longest: int = _LONG_WORD) -> str:
    """What an error says of a configuration, without the private keys that stand where something else belongs: those in
    PEM, and words that could be lines of them, which have at least `longest` letters."""
    if len(text) < 20:
        return text

    def hidden(match: re.Match[str]) -> str:
        word = match[0]
        kinds = (str.isupper, str.islower, str.isdigit)
        # Names of fields have no digits and capitals; hashes are of one case; paths seldom have all three.
        return _HIDDEN if len(word) >= longest and all(any(map(kind, word)) for kind in kinds) else word

    return _WORD.sub(hidden, _PRIVATE_KEY.sub(rf"\1{_HIDDEN}", text))


class MinienvoyError(Exception):
    """Base class of every error below; never raised itself."""


class ConfigError(MinienvoyError):
    """The configuration can not be used. Private keys in it are not told.

    Attributes:
        problem: what is wrong, in Envoy's words where Envoy has words for it.
        path: where, as a proto field path, e.g. `static_resources.clusters[0].lb_policy`; empty if not in a field.
        location: `file:line:column` where it is known, else empty.
        remedy: what to do about it, if there is something to do (a did-you-mean, a flag), else empty.
    """

    def __init__(self, problem: str, path: str = "", location: str = "", remedy: str = "") -> None:
        self.problem = problem = hide_keys(problem)
        self.path = path = hide_keys(path)
        self.location = location
        self.remedy = remedy = hide_keys(remedy)
        super().__init__(problem, path, location, remedy)

    def below(self, path: str) -> ConfigError:
        """The same error for who knows where the message stands whose factory raised it."""
        within = self.path if self.path.startswith(path) else ".".join(filter(None, (path, self.path)))
        return ConfigError(self.problem, within, self.location, self.remedy)

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.location, self.path) if part)
        text = f"{where}: {self.problem}" if where else self.problem
        return f"{text} ({self.remedy})" if self.remedy else text


class UsageError(MinienvoyError):
    """A program that embeds minienvoy asks for what can not be: an address before the start, an unknown listener.

    Attributes:
        remedy: what to do instead.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem, remedy)

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem


class CodecProtocolError(MinienvoyError):
    """The peer broke the framing of its protocol; the connection can not be used any more.

    Attributes:
        details: `%RESPONSE_CODE_DETAILS%`, e.g. `http1.codec_error`.
        status: what a server answers before it closes: 400, 426, 431, 501.
    """

    def __init__(self, details: str, status: int = 400) -> None:
        super().__init__(details)
        self.details = details
        self.status = status


class ResponseFloodError(CodecProtocolError):
    """More responses wait for a peer than is sensible: it is not answered, its connection is closed."""


class KubernetesError(MinienvoyError):
    """The API server can not be asked: there is no way to it, it hung up, or there are no credentials for it."""
