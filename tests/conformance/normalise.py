"""What may differ between two runs of the same proxy, and nothing else, is replaced by its name.

Dates, random UUIDs, ports (by the name of what listens there), the service time in milliseconds, the machine's own
address, and the prefix that a case's names carry in a shared process.
"""

from __future__ import annotations

import base64
import re
import socket
from typing import Any

_DATE = re.compile(r"(?<=: )(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_AWS_DATE = re.compile(r"(x-amz-date: |X-Amz-Date=|Credential=\w+(?:/|%2F))\d{8}(?:T\d{6}Z)?")
_AWS_SIGNATURE = re.compile(r"(Signature=)[0-9a-f]{64}")
"""It changes with the second; that it is right is for `tests/unit`."""
_SERVICE_TIME = re.compile(r"(?i)^(x-envoy-upstream-service-time: (?:\d+,)?|(?:\w+-)?bandwidth-[a-z-]+-ms: )\d+$")
_TWICE = re.compile(r"(?<=service-time: )\d+,")
_DEFAULT_LOG_LINE = re.compile(r'^(\[<time>\] ".*" \d+ \S+ \d+ \d+) \d+ (\d+|-)(?= ")')
# What a log line calls `<something>_ms`, `_id` or `_port` (a whole line, or a JSON field) is a number that differs.
_LOGGED = re.compile(r'(?m)((?:^|")\w+_(ms|ids?|port)"?[=:]"?)([0-9][0-9,]*)(?="?(?:$|[,}]))')
_PORT_IN_HEADER = re.compile(r"(-port: <)([0-9]+)(?=>$)")
_PORT_VALUE = re.compile(r'((?:"port_value"|\.port_value): ?)(\d{4,5})\b')
_STREAM_ID = re.compile(r"^(attributes\.request\.http\.id: )\d+$")
_BASE64 = re.compile(r"(?<![\w+/])[A-Za-z0-9+/]{20,}={0,2}(?![\w+/=])")
_PORT_OF_NAME = re.compile(r"(?i)(?<=\b(?:svc|dns)\.test:)\d{4,5}\b")
_FORWARDED_PORT = re.compile(r"(?i)^(x-forwarded-port: )(\d{4,5})$")
_PROXY_LINE = re.compile(r"^(PROXY TCP[46] \S+ \S+) \d+ \d+$")
_ADDRESS = re.compile(r"(\d+\.\d+\.\d+\.\d+|\[::1\]):(\d{4,5})\b")


def machine_address() -> str | None:
    """The address that Envoy takes for the machine's own: no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


class Normaliser:
    """Replaces run-dependent values in every string of a tree."""

    def __init__(
        self,
        prefix: str,
        ports: dict[int, str],
        directory: str,
        own_address: str | None,
        tokens: dict[str, str] | None = None,
    ) -> None:
        """`tokens` are long texts, with their names."""
        self._tokens = tokens or {}
        self._prefix = prefix + "_"
        self._ports = ports
        self._directory = directory
        self._own = own_address if own_address and not own_address.startswith("127.") else None

    def tree(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.tree(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.tree(item) for key, item in value.items()}
        return value

    def text(self, value: str) -> str:
        for token, name in sorted(self._tokens.items(), reverse=True):
            value = value.replace(token, f"<token {name}>")
        if "AWS4-HMAC" in value or "x-amz-date" in value or "X-Amz-Date" in value:
            value = _AWS_DATE.sub(r"\1<aws date>", _AWS_SIGNATURE.sub(r"\1<signature>", value))
        value = _SERVICE_TIME.sub(r"\1<ms>", _UUID.sub("<uuid>", _ISO.sub("<time>", _DATE.sub("<date>", value))))
        value = _TWICE.sub("<ms>,", value)
        value = _DEFAULT_LOG_LINE.sub(r"\1 <ms> <ms>", value)
        value = _BASE64.sub(self._decoded, value)
        value = _ADDRESS.sub(lambda m: f"{m[1]}:<{self._ports.get(int(m[2]), 'a port')}>", value)
        value = _PORT_OF_NAME.sub(lambda m: f"<{self._ports[int(m[0])]}>" if int(m[0]) in self._ports else m[0], value)
        value = _LOGGED.sub(self._logged, value)
        value = _PORT_IN_HEADER.sub(lambda m: f"{m[1]}{self._ports.get(int(m[2]), 'a port')}", value)
        value = _FORWARDED_PORT.sub(lambda m: f"{m[1]}{self._ports.get(int(m[2]), m[2])}", value)
        value = _PORT_VALUE.sub(lambda m: f"{m[1]}<{self._ports.get(int(m[2]), 'a port')}>", value)
        value = _STREAM_ID.sub(r"\1<id>", value)
        value = _PROXY_LINE.sub(r"\1 <a port> <a port>", value)
        if self._own:
            value = value.replace(self._own, "<machine>")
        return value.replace(self._directory, "<dir>").replace(self._prefix, "")

    def _logged(self, match: re.Match[str]) -> str:
        known = self._ports.get(int(match[3]), "a port") if match[2] == "port" else match[2]
        return f"{match[1]}<{known}>"

    @staticmethod
    def _decoded(match: re.Match[str]) -> str:
        """An address in base64 is shown as such: its port may differ."""
        try:
            plain = base64.b64decode(match[0], validate=True).decode("latin-1")
        except ValueError:
            return match[0]
        return f"<base64 of {plain!r}>" if _ADDRESS.search(plain) else match[0]
