"""TLS in scenarios: short words for the contexts of a configuration, and the two ends that the judge plays.

The certificates are in `tests/data/tls` and are called by their file's name. In a configuration, `tls: {cert: server}`
of a case or of a filter chain stands for its transport socket with a `DownstreamTlsContext`, `tls: {ca: ca}` of a
cluster for one with an `UpstreamTlsContext`; `cert`, a name or a list of names, and `ca` are filled in, everything
else is the context's own. `{certs}` in a string is the directory.

A client's step, and a backend, have `tls: {...}` with any of `sni`, `cert`, `alpn`, `versions` ("1.0" to "1.3"),
`ciphers`, `curve`, `preface` (what is sent before it) and, for a backend, `ca` (it asks for the certificate of its
client). `resume: name` of a client goes on with the session of its connection of that name. What they agreed on is the
first line of the transcript. `groups` and `signatures` (lists with colons, as OpenSSL has them), `status: true` (a
client asks for an OCSP response), `authorities: true` (the names that a server asks for are shown), and the steps
`beneath`, `renegotiate` and `key_update` are things for which Python's `ssl` has no words.
"""

from __future__ import annotations

import ctypes
import ssl
import warnings
from functools import cache
from pathlib import Path
from typing import Any

CERTIFICATES = Path(__file__).parents[1] / "data" / "tls"
_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_SET_STATUS_TYPE, _GET_STAPLE, _SET_GROUPS, _SET_SIGNATURES = 65, 70, 92, 98
"""`SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE`, `SSL_CTRL_GET_TLSEXT_STATUS_REQ_OCSP_RESP`, `SSL_CTRL_SET_GROUPS_LIST`,
`SSL_CTRL_SET_SIGALGS_LIST`."""
_OCSP = 1


def _own(path: Path) -> bytes:
    """The first certificate of a chain."""
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(path.read_text().partition(end)[0] + end + "\n")


@cache
def _names() -> dict[bytes, str]:
    """Of the certificates that have keys; those of `make_odd.sh` may be the same as others."""
    paths = [path for path in CERTIFICATES.glob("*.pem") if path.with_suffix(".key").exists()]
    return {_own(path): path.stem for path in sorted(paths, key=lambda path: not path.stem.startswith("odd"))}


def transport_socket(kind: str, short: dict[str, Any]) -> dict[str, Any]:
    """`kind` is `Downstream` or `Upstream`."""
    context = dict(short)
    common = context.pop("common", {})
    if "cert" in context:
        names = context.pop("cert")
        common["tls_certificates"] = [
            {
                "certificate_chain": {"filename": f"{{certs}}/{name}.pem"},
                "private_key": {"filename": f"{{certs}}/{name}.key"},
            }
            for name in ([names] if isinstance(names, str) else names)
        ]
    if "ca" in context:
        validation = {"trusted_ca": {"filename": f"{{certs}}/{context.pop('ca')}.pem"}}
        common["validation_context"] = validation | context.pop("validate", {})
    elif "validate" in context:
        common["validation_context"] = context.pop("validate")
    if "alpn" in context:
        common["alpn_protocols"] = context.pop("alpn")
    if common:
        context["common_tls_context"] = common
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": f"{_TYPE}{kind}TlsContext", **context},
    }


class _Context(ssl.SSLContext):
    """Goes on with a session if it is given one."""

    resumed: Any = None
    wants_status = False
    wants_authorities = False

    def wrap_bio(self, *args: Any, **settings: Any) -> ssl.SSLObject:
        return super().wrap_bio(*args, **settings, session=self.resumed)


def _context(kind: int, spec: dict[str, Any]) -> _Context:
    context = _Context(kind)
    if kind == ssl.PROTOCOL_TLS_CLIENT:
        context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if "cert" in spec:
        context.load_cert_chain(CERTIFICATES / f"{spec['cert']}.pem", CERTIFICATES / f"{spec['cert']}.key")
    if "ca" in spec:
        context.load_verify_locations(CERTIFICATES / f"{spec['ca']}.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
    if "alpn" in spec:
        context.set_alpn_protocols(spec["alpn"])
    if "ciphers" in spec:
        context.set_ciphers(spec["ciphers"])
    if "curve" in spec:
        context.set_ecdh_curve(spec["curve"])
    if "versions" in spec:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # some of them are old
            context.minimum_version = context.maximum_version = _VERSIONS[str(spec["versions"])]
    for command, number, text in (
        (_SET_GROUPS, 0, spec.get("groups")),
        (_SET_SIGNATURES, 0, spec.get("signatures")),
        (_SET_STATUS_TYPE, _OCSP, "" if spec.get("status") else None),
    ):
        if text is not None:
            _control(context, command, number, text)
    context.wants_status = bool(spec.get("status"))
    context.wants_authorities = bool(spec.get("authorities"))
    return context


def _control(context: ssl.SSLContext, command: int, number: int, text: str) -> None:
    """Tell the library that Python's `ssl` is linked with what that has no words for."""
    import _ssl

    # `PySSLContext`: what every object begins with, then the library's own.
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    tell = ctypes.CDLL(_ssl.__file__).SSL_CTX_ctrl
    tell.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
    tell.restype = ctypes.c_long
    if tell(pointer, command, number, text.encode() or None) != 1:
        raise ValueError(f"OpenSSL does not take {text!r}")


def resuming_context(talk: Any) -> ssl.SSLContext:
    """Goes on with the session of another connection."""
    earlier = talk.wire.transport.get_extra_info("ssl_object")
    context: _Context = earlier.context
    context.resumed = earlier.session
    return context


def client_context(spec: dict[str, Any]) -> ssl.SSLContext:
    return _context(ssl.PROTOCOL_TLS_CLIENT, spec)


def server_context(spec: dict[str, Any]) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER, {"cert": "server", **spec})

    def note_name(session: Any, name: str | None, _: object) -> None:
        session.sni = name

    context.sni_callback = note_name
    return context


def agreed(session: Any) -> str:
    """What two ends agreed on, and who the peer is."""
    version, cipher = session.version(), session.cipher()[0]
    der = session.getpeercert(True)
    shown = [version, cipher]
    if session.selected_alpn_protocol():
        shown.append(f"alpn={session.selected_alpn_protocol()}")
    if session.server_side and getattr(session, "sni", None):
        shown.append(f"sni={session.sni}")
    if session.session_reused:
        shown.append("resumed")
    if der:
        shown.append(f"peer={_names().get(der, 'unknown')}")
    if getattr(session.context, "wants_status", False):
        shown.append(f"staple={_staple(session)}")
    if getattr(session.context, "wants_authorities", False):
        shown.append(f"chain={len(session._sslobj.get_unverified_chain() or ())} asks={_authorities(session)}")
    return f"<{' '.join(shown)}>"


def _staple(session: ssl.SSLObject) -> str:
    """The file that a server has stapled, or how many bytes of what."""
    import _ssl

    found = ctypes.c_void_p()
    ask = ctypes.CDLL(_ssl.__file__).SSL_ctrl
    ask.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.POINTER(ctypes.c_void_p))
    ask.restype = ctypes.c_long
    size = ask(_pointer(session), _GET_STAPLE, 0, ctypes.byref(found))
    if size <= 0 or not found.value:
        return "none"
    data = ctypes.string_at(found.value, size)
    return next((path.stem for path in CERTIFICATES.glob("*.ocsp") if path.read_bytes() == data), f"{size} bytes")


def _authorities(session: ssl.SSLObject) -> str:
    """Whose certificates a server says that it takes."""
    import _ssl

    library = ctypes.CDLL(_ssl.__file__)
    names = _declared(library.SSL_get0_peer_CA_list, ctypes.c_void_p, ctypes.c_void_p)(_pointer(session))
    if not names:
        return "nobody"
    count = _declared(library.OPENSSL_sk_num, ctypes.c_int, ctypes.c_void_p)(names)
    value = _declared(library.OPENSSL_sk_value, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
    line = _declared(library.X509_NAME_oneline, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
    shown = [line(value(names, at), ctypes.create_string_buffer(256), 256) for at in range(count)]
    return ",".join(each.decode() for each in shown)


def _declared(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, arguments
    return function


def beneath(transport: Any, data: bytes) -> None:
    """Send bytes as they are, under the session."""
    transport._ssl_protocol._transport.write(data)


def renegotiate(transport: Any) -> None:
    """Ask for a new handshake within a session of TLS 1.2."""
    _ask_library(transport, "SSL_renegotiate")


def key_updates(transport: Any, count: int) -> None:
    """So many messages of TLS 1.3 that say no more than that the keys change; the peer is asked to do the same."""
    _ask_library(transport, "SSL_key_update", 1, times=count)


def _ask_library(transport: Any, function: str, *arguments: int, times: int = 1) -> None:
    """Call a function of the library that Python's `ssl` is linked with, and send what comes of it in one piece."""
    import _ssl

    protocol = transport._ssl_protocol
    session = protocol._sslobj
    pointer = _pointer(session)
    for _ in range(times):
        getattr(ctypes.CDLL(_ssl.__file__), function)(pointer, *arguments)
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            pass
    protocol._transport.write(protocol._outgoing.read())


def _pointer(session: Any) -> ctypes.c_void_p:
    """The library's own object of a session."""
    # `PySSLSocket`: what every object begins with, the socket, and then the library's own.
    return ctypes.c_void_p.from_address(id(session._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p))
