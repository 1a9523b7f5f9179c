"""What Python's `ssl` has no words for, told to the library that it is linked with, as C tells it.

Envoy: what `ContextImpl` and `ServerContextImpl` tell BoringSSL (`SSL_CTX_set1_curves_list`, `SSL_CTX_set_timeout`).

A Python whose `ssl` has OpenSSL inside itself shows none of its functions; on Windows those of a linked library are not
found either, OpenSSL before 3.0 lacks some, and of other Pythons nobody knows where a context keeps the library's own.
Then `library()` is None, and pyOpenSSL does what it can do.

Functions are looked up in what `_ssl` is linked with: another OpenSSL in the process, as that of pyOpenSSL, is another
library. Nothing here outlives the context that it belongs to, but for callbacks: see `call_for_ticket_keys`.
"""

from __future__ import annotations

import ctypes
import ssl
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from ....network.memory_file import MemoryFile

_MODE, _SET_SESSION_CACHE_MODE = 33, 44
_SET_GROUPS, _SET_SIGNATURE_ALGORITHMS, _SET_CLIENT_SIGNATURE_ALGORITHMS = 92, 98, 102
"""`SSL_CTRL_MODE`, `SSL_CTRL_SET_SESS_CACHE_MODE`, `SSL_CTRL_SET_GROUPS_LIST`, `SSL_CTRL_SET_SIGALGS_LIST`,
`SSL_CTRL_SET_CLIENT_SIGALGS_LIST`."""
NO_AUTO_CHAIN: Final = 8
"""`SSL_MODE_NO_AUTO_CHAIN`"""
_LONGEST: Final = 2**31 - 1
_KNOWN_PYTHONS: Final = ((3, 11), (3, 14))
"""The first and the last one whose `PySSLContext` begins with the library's own."""
_PROBE: Final = 1 << 14
"""`SSL_OP_NO_TICKET`; whether a context has it is asked in both ways."""


class Parameter(ctypes.Structure):
    """`OSSL_PARAM`"""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("data_type", ctypes.c_uint),
        ("data", ctypes.c_char_p),
        ("data_size", ctypes.c_size_t),
        ("return_size", ctypes.c_size_t),
    )


TicketCallback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_char),
    ctypes.POINTER(ctypes.c_char),
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int,
)
"""(SSL, name of the key, initialisation vector, cipher context, MAC context, whether to encrypt)"""


class Library(NamedTuple):
    """The functions of OpenSSL that are called, declared as C has them."""

    control: Any
    set_ciphersuites: Any
    set_timeout: Any
    set_session_id_context: Any
    set_ticket_callback: Any
    encrypt_init: Any
    decrypt_init: Any
    set_mac_parameters: Any
    aes_256_cbc: Any
    clear_errors: Any
    get_options: Any
    load_names: Any
    set_client_authorities: Any


def _declared(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, arguments
    return function


@cache
def library() -> Library | None:
    """That of Python's `ssl`; None if its functions can not be found."""
    import _ssl

    file = getattr(_ssl, "__file__", None)
    first, last = _KNOWN_PYTHONS
    if file is None or sys.implementation.name != "cpython" or not first <= sys.version_info[:2] <= last:
        return None
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    init = (pointer, pointer, pointer, text, pointer)
    try:
        # Names are looked for in this file and in what it is linked with, nowhere else.
        found = ctypes.CDLL(file)
        if _declared(found.OpenSSL_version_num, ctypes.c_ulong)() != ssl.OPENSSL_VERSION_NUMBER:
            return None
        functions = Library(
            control=_declared(found.SSL_CTX_ctrl, ctypes.c_long, pointer, number, ctypes.c_long, text),
            set_ciphersuites=_declared(found.SSL_CTX_set_ciphersuites, number, pointer, text),
            set_timeout=_declared(found.SSL_CTX_set_timeout, ctypes.c_long, pointer, ctypes.c_long),
            set_session_id_context=_declared(found.SSL_CTX_set_session_id_context, number, pointer, text, number),
            set_ticket_callback=_declared(found.SSL_CTX_set_tlsext_ticket_key_evp_cb, number, pointer, TicketCallback),
            encrypt_init=_declared(found.EVP_EncryptInit_ex, number, *init),
            decrypt_init=_declared(found.EVP_DecryptInit_ex, number, *init),
            set_mac_parameters=_declared(found.EVP_MAC_CTX_set_params, number, pointer, ctypes.POINTER(Parameter)),
            aes_256_cbc=_declared(found.EVP_aes_256_cbc, pointer)(),
            clear_errors=_declared(found.ERR_clear_error, None),
            load_names=_declared(found.SSL_load_client_CA_file, pointer, text),
            set_client_authorities=_declared(found.SSL_CTX_set_client_CA_list, None, pointer, pointer),
            get_options=_declared(found.SSL_CTX_get_options, ctypes.c_uint64, pointer),
        )
    except (OSError, AttributeError):
        return None
    return functions if _is_understood(functions) else None


def _is_understood(functions: Library) -> bool:
    """What Python says of a context is what its library says of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for options in (context.options | _PROBE, context.options & ~_PROBE):
        context.options = ssl.Options(options)
        if functions.get_options(_pointer(context)) != int(context.options) & (2**64 - 1):
            return False
    return True


def _pointer(context: ssl.SSLContext) -> int | None:
    """`SSL_CTX *`: the first thing in Python's object, behind what every object begins with."""
    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value


class NativeContext:
    """One of Python's contexts, as OpenSSL has it; only where there is a `library()`."""

    def __init__(self, context: ssl.SSLContext, functions: Library) -> None:
        self._functions = functions
        self._pointer = _pointer(context)
        self._context = context

    def set_curves(self, names: Sequence[str]) -> bool:
        """Whether the library has them all."""
        return self._set_list(_SET_GROUPS, names)

    def set_signature_algorithms(self, names: Sequence[str]) -> bool:
        """Whether the library has them all."""
        return self._set_list(_SET_SIGNATURE_ALGORITHMS, names)

    def show_no_more_than_configured(self) -> None:
        """Not what is found among the authorities that others are verified with."""
        self._functions.control(self._pointer, _MODE, NO_AUTO_CHAIN, None)

    def ask_for_signatures(self, names: Sequence[str]) -> bool:
        """With these clients may prove that a certificate is theirs; whether the library has them all."""
        return self._set_list(_SET_CLIENT_SIGNATURE_ALGORITHMS, names)

    def name_authorities(self, pem: bytes) -> None:
        """Tell clients whose certificates are welcome."""
        with MemoryFile(pem) as name:
            names = self._functions.load_names(name.encode())
        if names:
            self._functions.set_client_authorities(self._pointer, names)  # which keeps them
        else:
            self._functions.clear_errors()

    def set_ciphersuites(self, names: Sequence[str]) -> bool:
        """Of TLS 1.3; whether the library has them all."""
        done: int = self._functions.set_ciphersuites(self._pointer, ":".join(names).encode())
        if done != 1:
            self._functions.clear_errors()
        return done == 1

    def limit_sessions(self, *, kept: bool, timeout: float | None) -> None:
        """`kept`: for who has no ticket; `timeout`: seconds for which a session is good, None for the library's own."""
        if timeout is not None:
            self._functions.set_timeout(self._pointer, min(int(timeout), _LONGEST))
        if not kept:
            self._functions.control(self._pointer, _SET_SESSION_CACHE_MODE, 0, None)

    def set_session_scope(self, scope: bytes) -> None:
        """Sessions of another scope are not gone on with, whoever has the keys; at most 32 bytes."""
        self._functions.set_session_id_context(self._pointer, scope, len(scope))

    def call_for_ticket_keys(self, callback: Any) -> None:
        """A `TicketCallback`. The library calls it in handshakes of sessions that began with this context, even after
        they went on to another one: who has such a session must have this context, too, as `SslSocket` does."""
        self._context.minienvoy_ticket_callback = callback  # type: ignore[attr-defined]
        self._functions.set_ticket_callback(self._pointer, callback)

    def _set_list(self, command: int, names: Sequence[str]) -> bool:
        done: int = self._functions.control(self._pointer, command, 0, ":".join(names).encode())
        if done != 1:
            self._functions.clear_errors()
        return done == 1


def native(context: ssl.SSLContext) -> NativeContext | None:
    """None where there is no `library()`."""
    functions = library()
    return None if functions is None else NativeContext(context, functions)
