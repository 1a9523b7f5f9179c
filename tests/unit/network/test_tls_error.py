"""Errors of TLS in BoringSSL's words."""

from __future__ import annotations

import pytest

from minienvoy.network.tls_error import reason_of_alert, tls_error


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("HTTP_REQUEST", "TLS_error:|268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end"),
        ("VERSION_TOO_LOW", "TLS_error:|268435696:SSL routines:OPENSSL_internal:UNSUPPORTED_PROTOCOL:TLS_error_end"),
        (
            "PEER_DID_NOT_RETURN_A_CERTIFICATE",
            "TLS_error:|268435648:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:"
            "peer did not provide required client certificate:TLS_error_end",
        ),
        ("SOMETHING_NEW", "TLS_error:|268435456:SSL routines:OPENSSL_internal:SOMETHING_NEW:TLS_error_end"),
    ],
)
def test_an_error_has_boringssls_number_and_name(reason, said):
    assert tls_error(reason) == said


def test_errors_that_go_together_are_told_together():
    assert tls_error("SSLV3_ALERT_HANDSHAKE_FAILURE", "", "HANDSHAKE_FAILURE_ON_CLIENT_HELLO") == (
        "TLS_error:|268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT_HANDSHAKE_FAILURE"
        "|268435610:SSL routines:OPENSSL_internal:HANDSHAKE_FAILURE_ON_CLIENT_HELLO:TLS_error_end"
    )


def test_an_alert_has_the_name_of_the_error_that_it_is():
    assert reason_of_alert(40) == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert reason_of_alert(48) == "TLSV1_ALERT_UNKNOWN_CA"
    assert reason_of_alert(200) == ""
