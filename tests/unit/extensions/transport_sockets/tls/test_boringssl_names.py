"""Rules for cipher suites, as BoringSSL applies them; what it takes and refuses is judged by `tls_tables`."""

from __future__ import annotations

import pytest

from minienvoy.extensions.transport_sockets.tls.boringssl_names import (
    CURVES,
    SUITES,
    cipher_groups,
    known_names,
    rejected_names,
)


@pytest.mark.parametrize(
    ("rules", "chosen"),
    [
        ("AES128-SHA", "AES128-SHA"),
        ("AES128-SHA:AES256-SHA:AES128-SHA", "AES128-SHA AES256-SHA"),
        ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
        ("[AES256-SHA|AES128-SHA]", "AES256-SHA|AES128-SHA"),
        (
            "AES256-GCM-SHA384:[AES256-SHA|AES128-SHA]:AES128-GCM-SHA256",
            "AES256-GCM-SHA384 AES256-SHA|AES128-SHA AES128-GCM-SHA256",
        ),
        ("[AES128-SHA]", "AES128-SHA"),
        ("RSA+AESGCM", "AES128-GCM-SHA256 AES256-GCM-SHA384"),
        ("RSA+AESGCM:!AES128", "AES256-GCM-SHA384"),
        ("RSA+AESGCM:-AES128:AES128-GCM-SHA256", "AES256-GCM-SHA384 AES128-GCM-SHA256"),
        ("!AES128:RSA+AESGCM:AES128-GCM-SHA256", "AES256-GCM-SHA384"),
        ("RSA+AESGCM:+AES128", "AES256-GCM-SHA384 AES128-GCM-SHA256"),
        ("AES128-SHA:TLS_AES_128_GCM_SHA256", "AES128-SHA"),
        (":AES128-SHA:", "AES128-SHA"),
        ("CHACHA20+aRSA", "ECDHE-RSA-CHACHA20-POLY1305"),
    ],
)
def test_what_rules_choose(rules, chosen):
    assert cipher_groups(rules) == tuple(tuple(group.split("|")) for group in chosen.split())


@pytest.mark.parametrize(
    "rules",
    [
        "",
        "nothing",
        "aes128-sha",
        "AES128-SHA|AES256-SHA",
        "[AES128-SHA",
        "[AES128-SHA|-AES256-SHA]",
        "[AES128-SHA]:!AES256",
        "[[AES128-SHA]]",
        "AES128-SHA AES256-SHA",
        "AES128-SHA+",
        "RSA+nothing",
        "@STRENGTH",
        "AES128-SHA:@NOTHING",
        "-ALL",
        "TLS_AES_128_GCM_SHA256",
        "AES128-SHA:-AES128-SHA",
    ],
)
def test_rules_that_are_not_taken(rules):
    assert cipher_groups(rules) is None


def test_all_leaves_out_what_has_to_be_named():
    everything = {name for group in cipher_groups("ALL") or () for name in group}
    assert {suite.name for suite in SUITES} - everything == {
        "DES-CBC3-SHA",
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-RSA-AES128-SHA256",
    }
    assert cipher_groups("DEFAULT") == cipher_groups("ALL")
    assert cipher_groups("DEFAULT:DES-CBC3-SHA")[-1] == ("DES-CBC3-SHA",)


def test_names_are_tried_alone():
    assert rejected_names("[AES128-SHA|NOPE]:WHAT") == ["NOPE", "WHAT"]
    assert rejected_names("-ALL") == []


def test_names_of_curves():
    assert known_names(["prime256v1:X25519", "P-384"], CURVES) == ("P-256", "X25519", "P-384")
    assert known_names(["P-256", "prime256v1"], CURVES) is None
    assert known_names(["P-256", ""], CURVES) is None
