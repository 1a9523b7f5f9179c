"""What goes wrong in TLS, in Envoy's words, which are BoringSSL's: its numbers and names for what OpenSSL finds.

Envoy: `Extensions::TransportSockets::Tls::SslSocket::drainErrorQueue`.
"""

from __future__ import annotations

from typing import Final

_REASONS: Final = {
    "BAD_SIGNATURE": 123,
    "CERTIFICATE_VERIFY_FAILED": 125,
    "ENCRYPTED_LENGTH_TOO_LONG": 146,
    "EXCESSIVE_MESSAGE_SIZE": 150,
    "HANDSHAKE_FAILURE_ON_CLIENT_HELLO": 154,
    "KEY_USAGE_BIT_INCORRECT": 302,
    "UNEXPECTED_RECORD": 225,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 139,
    "HTTP_REQUEST": 156,
    "HTTPS_PROXY_REQUEST": 155,
    "BAD_PACKET_LENGTH": 112,
    "CONNECTION_REJECTED": 133,
    "NO_RENEGOTIATION": 182,
    "NO_SHARED_CIPHER": 184,
    "PROTOCOL_IS_SHUTDOWN": 194,
    "TOO_MANY_KEY_UPDATES": 280,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": 192,
    "UNEXPECTED_MESSAGE": 223,
    "UNSUPPORTED_PROTOCOL": 240,
    "WRONG_VERSION_NUMBER": 247,
    "SSLV3_ALERT_UNEXPECTED_MESSAGE": 1010,
    "SSLV3_ALERT_BAD_RECORD_MAC": 1020,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": 1040,
    "SSLV3_ALERT_BAD_CERTIFICATE": 1042,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": 1043,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": 1044,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": 1045,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": 1046,
    "SSLV3_ALERT_ILLEGAL_PARAMETER": 1047,
    "TLSV1_ALERT_UNKNOWN_CA": 1048,
    "TLSV1_ALERT_ACCESS_DENIED": 1049,
    "TLSV1_ALERT_DECODE_ERROR": 1050,
    "TLSV1_ALERT_DECRYPT_ERROR": 1051,
    "TLSV1_ALERT_PROTOCOL_VERSION": 1070,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": 1071,
    "TLSV1_ALERT_INTERNAL_ERROR": 1080,
    "TLSV1_ALERT_USER_CANCELLED": 1090,
    "TLSV1_ALERT_NO_RENEGOTIATION": 1100,
    "TLSV1_ALERT_UNSUPPORTED_EXTENSION": 1110,
    "TLSV1_UNRECOGNIZED_NAME": 1112,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": 1116,
}
"""BoringSSL's numbers for what OpenSSL gives the same name; Envoy's words have them."""
_BORINGSSL_NAMES: Final = {
    "CALLBACK_FAILED": "NO_RENEGOTIATION",
    "PACKET_LENGTH_TOO_LONG": "ENCRYPTED_LENGTH_TOO_LONG",
    "UNKNOWN_PROTOCOL": "WRONG_VERSION_NUMBER",
    "VERSION_TOO_LOW": "UNSUPPORTED_PROTOCOL",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_UNRECOGNIZED_NAME": "TLSV1_ALERT_UNRECOGNIZED_NAME",
}
_SSL_LIBRARY: Final = 16 << 24
_ALERTS: Final = 1000
"""BoringSSL's number of an alert is this and the alert."""
_BAD_DECRYPT: Final = "503316581:Cipher functions:OPENSSL_internal:BAD_DECRYPT"
_NO_CERTIFICATE: Final = "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def tls_error(reason: str, details: str = "", *more: str) -> str:
    """One text of an error, with `details`, and of those that go with it, `more`."""
    if reason == _NO_CERTIFICATE:
        details = details or "peer did not provide required client certificate"
    texts = [_text(reason) + (f":{details}" if details else ""), *map(_text, more)]
    if reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC":
        texts.insert(0, _BAD_DECRYPT)
    return f"TLS_error:|{'|'.join(texts)}:TLS_error_end"


def reason_of_alert(number: int) -> str:
    """The name of the error that a fatal alert of the peer is; empty if it has none."""
    return next((name for name, code in _REASONS.items() if code == _ALERTS + number), "")


def _text(reason: str) -> str:
    name = _BORINGSSL_NAMES.get(reason, reason)
    code = _SSL_LIBRARY | _REASONS.get(reason, _REASONS.get(name, 0))
    return f"{code}:SSL routines:OPENSSL_internal:{name}"
