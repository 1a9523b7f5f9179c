"""Keys of session tickets that several proxies share: the first encrypts, all of them decrypt.

Envoy: `ServerContextImpl::sessionTicketProcess`, `ServerContextConfigImpl::getSessionTicketKey`;
`envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys`.

OpenSSL asks a function of ours what to encrypt a ticket with (`SSL_CTX_set_tlsext_ticket_key_evp_cb`). What is in a
ticket is the library's own affair: OpenSSL can not read a session of BoringSSL, nor the other way round, so a client
that changes between minienvoy and Envoy has a whole handshake with keys, as it has without.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from .native_context import Library, NativeContext, Parameter, TicketCallback, library

KEY_SIZE: Final = 80
_NAME_END, _HMAC_END = 16, 48
_VECTOR_SIZE: Final = 16
_UTF8, _OCTETS = 4, 5
"""`OSSL_PARAM_UTF8_STRING`, `OSSL_PARAM_OCTET_STRING`."""
_FAILED, _UNKNOWN, _GOOD, _GOOD_BUT_OLD = -1, 0, 1, 2


class _Key(NamedTuple):
    name: bytes
    aes: bytes
    mac: Any
    """Parameters that make the MAC an HMAC of this key with SHA-256."""

    def __repr__(self) -> str:
        return "<ticket key>"


class TicketKeys:
    """Of one context; each key is 80 bytes."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(map(_key, keys))

    def __repr__(self) -> str:
        return f"<{len(self._keys)} ticket keys>"

    def give_to(self, context: NativeContext) -> None:
        functions = library()
        assert functions is not None
        context.call_for_ticket_keys(_callback(self._keys, functions))


def _key(key: bytes) -> _Key:
    mac = (Parameter * 3)(
        Parameter(b"key", _OCTETS, key[_NAME_END:_HMAC_END], _HMAC_END - _NAME_END),
        Parameter(b"digest", _UTF8, b"SHA256", 6),
        Parameter(),
    )
    return _Key(key[:_NAME_END], key[_HMAC_END:], mac)


def _callback(keys: tuple[_Key, ...], functions: Library) -> Any:
    encrypting = keys[0]

    def begin(init: Callable[..., int], key: _Key, vector: Any, cipher: Any, mac: Any) -> bool:
        keyed: bool = functions.set_mac_parameters(mac, key.mac) == 1
        return keyed and init(cipher, functions.aes_256_cbc, None, key.aes, vector) == 1

    def on_ticket(_: Any, name: Any, vector: Any, cipher: Any, mac: Any, encrypt: int) -> int:
        if encrypt:
            ctypes.memmove(name, encrypting.name, _NAME_END)
            ctypes.memmove(vector, os.urandom(_VECTOR_SIZE), _VECTOR_SIZE)
            return _GOOD if begin(functions.encrypt_init, encrypting, vector, cipher, mac) else _FAILED
        wanted = name[:_NAME_END]
        for key in keys:
            if key.name == wanted:
                if not begin(functions.decrypt_init, key, vector, cipher, mac):
                    return _FAILED
                # Whoever has a ticket of an older key is given one of the first.
                return _GOOD if key is encrypting else _GOOD_BUT_OLD
        return _UNKNOWN

    return TicketCallback(on_ticket)
