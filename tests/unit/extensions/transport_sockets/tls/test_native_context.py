"""What is told to the library that Python's `ssl` is linked with, and what happens where it can not be reached."""

from __future__ import annotations

import ctypes
import ssl
from pathlib import Path
from typing import Any

import pytest

from minienvoy.config.schema import message_class
from minienvoy.errors import ConfigError
from minienvoy.extensions.transport_sockets.tls import native_context, session_settings, tls_parameters
from minienvoy.extensions.transport_sockets.tls.downstream import TYPE, ServerContext
from minienvoy.network.client_hello import ClientHello, parse_client_hello
from minienvoy.network.ssl_connection_info import SslConnectionInfo
from minienvoy.network.ssl_stats import SslStats
from minienvoy.stats.store import Store

TLS = Path(__file__).parents[4] / "data" / "tls"
KEY = bytes(range(80))


def context(**more: Any) -> ServerContext:
    config = message_class(TYPE)(**more)
    certificate = config.common_tls_context.tls_certificates.add()
    certificate.certificate_chain.filename = str(TLS / "server.pem")
    certificate.private_key.filename = str(TLS / "server.key")
    return ServerContext(config, SslStats(Store().scope("ssl")), "")


def shake_hands(server: ServerContext, *, curve: str = "", session: Any = None, client: Any = None) -> Any:
    """The client's session; both ends in memory."""
    if client is None:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        client.maximum_version = ssl.TLSVersion.TLSv1_2
    if curve:
        client.set_ecdh_curve(curve)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server, session=session)
    with pytest.raises(ssl.SSLWantReadError):
        theirs.do_handshake()
    said = to_server.read()
    to_server.write(said)
    hello = parse_client_hello(said, 16384)
    assert isinstance(hello, ClientHello)
    ours = server.wrap(to_server, to_client, SslConnectionInfo(), None, hello)
    for _ in range(3):
        for end in (theirs, ours):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return theirs


@pytest.fixture(params=["linked", "inside"])
def linked(request, monkeypatch):
    """Python's `ssl` with a library whose functions can be called, and without."""
    if request.param == "inside":
        for module in (native_context, session_settings, tls_parameters):
            monkeypatch.setattr(module, "library", lambda: None)
    elif native_context.library() is None:
        pytest.fail("the library of this Python can not be reached")
    return request.param == "linked"


def test_of_several_curves_others_are_refused(linked):
    server = context(common_tls_context={"tls_params": {"ecdh_curves": ["P-384", "P-256"]}})
    assert shake_hands(server, curve="prime256v1").version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match=r"(?i)no.shared"):
        shake_hands(server, curve="secp521r1")


def test_a_curve_that_nobody_knows_is_refused_by_its_place(linked):
    with pytest.raises(ConfigError) as refused:
        context(common_tls_context={"tls_params": {"ecdh_curves": ["P-256", "nope"]}})
    assert refused.value.path.endswith(".ecdh_curves")


def test_an_algorithm_that_nobody_knows_is_refused_by_its_place(linked):
    with pytest.raises(ConfigError) as refused:
        context(common_tls_context={"tls_params": {"signature_algorithms": ["nope"]}})
    assert refused.value.path.endswith(".signature_algorithms")


def test_sessions_are_good_for_as_long_as_is_said(linked):
    assert shake_hands(context(session_timeout={"seconds": 77})).session.ticket_lifetime_hint == 77


def test_ticket_keys_are_given_to_the_library_and_otherwise_the_log_tells(linked, capfd):
    keys = {"keys": [{"inline_bytes": KEY}]}
    session = shake_hands(context(session_ticket_keys=keys))
    theirs = session.session
    assert theirs.has_ticket
    again = shake_hands(context(session_ticket_keys=keys), session=theirs, client=session.context)
    assert again.session_reused is linked


def test_ticket_keys_are_not_shown():
    config = message_class(TYPE)(session_ticket_keys={"keys": [{"inline_bytes": KEY}]})
    settings = session_settings.SessionSettings(config, "")
    assert "1" in repr(settings._keys) and "\\x01" not in repr(settings._keys)


class NoFunctions:
    """A library that is found and has nothing that one looks for."""

    def __init__(self, file: str) -> None:
        pass


@pytest.fixture
def looked_for_anew():
    native_context.library.cache_clear()
    yield
    native_context.library.cache_clear()


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.delattr("_ssl.__file__", raising=False),
        lambda patch: patch.setattr("_ssl.__file__", "/no/such/library.so", raising=False),
        lambda patch: patch.setattr(native_context.ctypes, "CDLL", NoFunctions),
        lambda patch: patch.setattr(native_context.ssl, "OPENSSL_VERSION_NUMBER", 0x1010101F),
        lambda patch: patch.setattr(native_context.sys.implementation, "name", "pypy"),
        lambda patch: patch.setattr(native_context, "_KNOWN_PYTHONS", ((3, 98), (3, 99))),
        lambda patch: patch.setattr(native_context, "_is_understood", lambda functions: False),
    ],
    ids=["inside", "no file", "no functions", "another version", "another Python", "a new Python", "another layout"],
)
def test_what_is_not_as_expected_is_not_called(change, monkeypatch, looked_for_anew):
    change(monkeypatch)
    assert native_context.library() is None


def test_a_pointer_that_is_not_the_librarys_own_is_noticed(monkeypatch):
    functions = native_context.library()
    assert functions is not None and native_context._is_understood(functions)
    monkeypatch.setattr(native_context, "_pointer", lambda context: other)
    other_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other_context.options = ssl.Options(0)
    other = ctypes.c_void_p.from_address(id(other_context) + object.__basicsize__).value
    assert not native_context._is_understood(functions)
