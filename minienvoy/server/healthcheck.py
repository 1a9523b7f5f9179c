"""`minienvoy healthcheck`: is the server in this container ready? For `HEALTHCHECK` and exec probes.

No Envoy counterpart: Envoy's images leave it to `curl`, which small images do not have.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

USAGE = """\
USAGE: minienvoy healthcheck [--admin-address <host:port>] [--admin-address-path <file>] [--timeout-s <seconds>]

Asks GET /ready of the admin interface: exit code 0 if the answer is 200, else 1.

   --admin-address <host:port>
     Default is 127.0.0.1:9901

   --admin-address-path <file>
     File that the server wrote the address to, instead

   --timeout-s <seconds>
     Default is 3
"""


class _UsageError(Exception):
    pass


def _read(arguments: Sequence[str]) -> tuple[str, str, float]:
    values = {"--admin-address": "127.0.0.1:9901", "--admin-address-path": "", "--timeout-s": "3"}
    rest = iter(arguments)
    for argument in rest:
        value = next(rest, None)
        if argument not in values or value is None:
            raise _UsageError(f"{argument}: {'a value is missing' if argument in values else 'no such flag'}")
        values[argument] = value
    try:
        timeout = float(values["--timeout-s"])
    except ValueError:
        timeout = 0.0
    if not 0 < timeout < 3600:
        raise _UsageError(f"--timeout-s: '{values['--timeout-s']}' is not a number of seconds")
    address = values["--admin-address"]
    if values["--admin-address-path"]:
        with open(values["--admin-address-path"], encoding="ascii") as file:  # noqa: PTH123 (no pathlib: start-up)
            address = file.read(256).strip()
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise _UsageError(f"'{address}' is not host:port")
    return host.strip("[]"), port, timeout


def main(arguments: Sequence[str]) -> int:
    """Ask once; the result is the exit code. What is wrong goes to standard error."""
    if arguments and arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    try:
        host, port, timeout = _read(arguments)
        ready, answer = ask(host, int(port), timeout)
    except _UsageError as error:
        sys.stderr.write(f"error: {error}\n\n{USAGE}")
        return 1
    except OSError as error:
        sys.stderr.write(f"not ready: {error}\n")
        return 1
    sys.stdout.write(f"{answer}\n")
    return 0 if ready else 1


def ask(host: str, port: int, timeout: float) -> tuple[bool, str]:
    """GET /ready: whether the answer is 200, and the first line of its body (or its status line).

    Raises:
        OSError: nobody answers within `timeout` seconds a read.
    """
    import socket

    answer = b""
    with socket.create_connection((host, port), timeout) as connection:
        connection.sendall(f"GET /ready HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        # Until the other side closes, but a body is not waited for longer than it takes to be announced in full.
        while len(answer) < 65536:
            received = connection.recv(4096)
            answer += received
            head, end, body = answer.partition(b"\r\n\r\n")
            if not received or (end and _body_is_complete(head, body)):
                break
    if not answer:
        raise ConnectionResetError("the connection was closed without an answer")
    head, _, body = answer.partition(b"\r\n\r\n")
    status_line = head.partition(b"\r\n")[0].decode("latin-1")
    if b"\r\ntransfer-encoding:" in head.lower():
        body = body.partition(b"\r\n")[2]  # the size of the first chunk
    word = body.decode("latin-1").partition("\n")[0].strip()
    return status_line.split(" ")[1:2] == ["200"], word[:80] or status_line


def _body_is_complete(head: bytes, body: bytes) -> bool:
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
        if name == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return False
