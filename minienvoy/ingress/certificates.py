"""Certificates that Secrets have.

Kubernetes: Secrets of the type `kubernetes.io/tls`; the API server looks at the names of their members only.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from functools import lru_cache
from typing import NamedTuple

from ..network.memory_file import MemoryFile
from .objects import RawObject


class Certificate(NamedTuple):
    """PEM texts of a Secret."""

    chain: str
    key: str


def certificate(secret: RawObject | None) -> Certificate | str:
    """A text says what is wrong with it."""
    if secret is None:
        return "there is no such Secret"
    data = secret.member("data")
    texts = []
    for name in ("tls.crt", "tls.key"):
        if name not in data:
            return f"it has no {name}"
        try:
            texts.append(base64.b64decode(data[name], validate=True).decode())
        except (binascii.Error, UnicodeDecodeError, TypeError):
            return f"{name} is not base64 of a PEM text"
    return _problem(*texts) or Certificate(*texts)


@lru_cache(maxsize=1024)
def _problem(chain: str, key: str) -> str:
    with MemoryFile(f"{chain.rstrip()}\n{key}".encode()) as name:
        try:
            # Without a password OpenSSL would ask at the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(name, password=lambda: b"\0")
        except ssl.SSLError as error:
            reason = (error.reason or "").lower().replace("_", " ")
            return f"tls.crt and tls.key can not be used: {reason or 'they are no PEM texts'}"
        except ValueError as error:
            return f"tls.crt and tls.key can not be used: {error}"
    return ""
