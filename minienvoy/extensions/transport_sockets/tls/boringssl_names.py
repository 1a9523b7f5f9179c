"""What BoringSSL calls cipher suites, curves and signature algorithms, and how its rules choose suites.

No Envoy counterpart: Envoy hands names to BoringSSL (`SSL_CTX_set_strict_cipher_list`, `SSL_CTX_set1_curves_list`,
`SSL_CTX_set1_sigalgs_list`). OpenSSL knows other names, and would take what Envoy refuses.

A rule for suites is a name, or aliases joined by `+`; before it may be `-` (not any more, for now), `!` (never) or `+`
(to the end). `[A|B]` are suites of equal preference; after such there may be no rule but names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple


class Suite(NamedTuple):
    name: str
    standard_name: str
    exchange: str
    auth: str
    cipher: str
    mac: str
    old: bool
    """It is older than TLS 1.2."""


def _suite(name: str, standard: str, keys: str, cipher: str, mac: str) -> Suite:
    exchange, _, auth = keys.partition(" ")
    return Suite(name, f"TLS_{standard}", exchange, auth, cipher, mac, mac == "SHA1")


_ECDHE_ECDSA, _ECDHE_RSA, _ECDHE_PSK, _RSA, _PSK = "ECDHE ECDSA", "ECDHE RSA", "ECDHE PSK", "RSA RSA", "PSK PSK"
_AEAD: Final = "AEAD"
SUITES: Final = (
    _suite("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", _ECDHE_ECDSA, "AES128GCM", _AEAD),
    _suite("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE_RSA_WITH_AES_128_GCM_SHA256", _ECDHE_RSA, "AES128GCM", _AEAD),
    _suite("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", _ECDHE_ECDSA, "AES256GCM", _AEAD),
    _suite("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE_RSA_WITH_AES_256_GCM_SHA384", _ECDHE_RSA, "AES256GCM", _AEAD),
    _suite(
        "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", _ECDHE_ECDSA, "CHACHA20", _AEAD
    ),
    _suite("ECDHE-RSA-CHACHA20-POLY1305", "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", _ECDHE_RSA, "CHACHA20", _AEAD),
    _suite("ECDHE-PSK-CHACHA20-POLY1305", "ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", _ECDHE_PSK, "CHACHA20", _AEAD),
    _suite("ECDHE-ECDSA-AES128-SHA", "ECDHE_ECDSA_WITH_AES_128_CBC_SHA", _ECDHE_ECDSA, "AES128", "SHA1"),
    _suite("ECDHE-RSA-AES128-SHA", "ECDHE_RSA_WITH_AES_128_CBC_SHA", _ECDHE_RSA, "AES128", "SHA1"),
    _suite("ECDHE-PSK-AES128-CBC-SHA", "ECDHE_PSK_WITH_AES_128_CBC_SHA", _ECDHE_PSK, "AES128", "SHA1"),
    _suite("ECDHE-ECDSA-AES256-SHA", "ECDHE_ECDSA_WITH_AES_256_CBC_SHA", _ECDHE_ECDSA, "AES256", "SHA1"),
    _suite("ECDHE-RSA-AES256-SHA", "ECDHE_RSA_WITH_AES_256_CBC_SHA", _ECDHE_RSA, "AES256", "SHA1"),
    _suite("ECDHE-PSK-AES256-CBC-SHA", "ECDHE_PSK_WITH_AES_256_CBC_SHA", _ECDHE_PSK, "AES256", "SHA1"),
    _suite("ECDHE-ECDSA-AES128-SHA256", "ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", _ECDHE_ECDSA, "AES128", "SHA256"),
    _suite("ECDHE-RSA-AES128-SHA256", "ECDHE_RSA_WITH_AES_128_CBC_SHA256", _ECDHE_RSA, "AES128", "SHA256"),
    _suite("AES128-GCM-SHA256", "RSA_WITH_AES_128_GCM_SHA256", _RSA, "AES128GCM", _AEAD),
    _suite("AES256-GCM-SHA384", "RSA_WITH_AES_256_GCM_SHA384", _RSA, "AES256GCM", _AEAD),
    _suite("AES128-SHA", "RSA_WITH_AES_128_CBC_SHA", _RSA, "AES128", "SHA1"),
    _suite("PSK-AES128-CBC-SHA", "PSK_WITH_AES_128_CBC_SHA", _PSK, "AES128", "SHA1"),
    _suite("AES256-SHA", "RSA_WITH_AES_256_CBC_SHA", _RSA, "AES256", "SHA1"),
    _suite("PSK-AES256-CBC-SHA", "PSK_WITH_AES_256_CBC_SHA", _PSK, "AES256", "SHA1"),
    _suite("DES-CBC3-SHA", "RSA_WITH_3DES_EDE_CBC_SHA", _RSA, "3DES", "SHA1"),
)
"""Most preferred first."""
_TLS_13: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""Known, and no part of a list: they can not be chosen."""
_UNUSUAL: Final = ("DES-CBC3-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256")
"""These have to be named."""

_ALIASES: Final[dict[str, Callable[[Suite], bool]]] = {
    "ALL": lambda suite: True,
    "HIGH": lambda suite: True,
    "FIPS": lambda suite: True,
    "kRSA": lambda suite: suite.exchange == "RSA",
    "kECDHE": lambda suite: suite.exchange == "ECDHE",
    "kEECDH": lambda suite: suite.exchange == "ECDHE",
    "ECDH": lambda suite: suite.exchange == "ECDHE",
    "kPSK": lambda suite: suite.exchange == "PSK",
    "aRSA": lambda suite: suite.auth == "RSA",
    "aECDSA": lambda suite: suite.auth == "ECDSA",
    "ECDSA": lambda suite: suite.auth == "ECDSA",
    "aPSK": lambda suite: suite.auth == "PSK",
    "ECDHE": lambda suite: suite.exchange == "ECDHE",
    "EECDH": lambda suite: suite.exchange == "ECDHE",
    "RSA": lambda suite: suite.exchange == suite.auth == "RSA",
    "PSK": lambda suite: suite.exchange == suite.auth == "PSK",
    "3DES": lambda suite: suite.cipher == "3DES",
    "AES128": lambda suite: suite.cipher.startswith("AES128"),
    "AES256": lambda suite: suite.cipher.startswith("AES256"),
    "AES": lambda suite: suite.cipher.startswith("AES"),
    "AESGCM": lambda suite: suite.cipher.endswith("GCM"),
    "CHACHA20": lambda suite: suite.cipher == "CHACHA20",
    "SHA1": lambda suite: suite.mac == "SHA1",
    "SHA": lambda suite: suite.mac == "SHA1",
    "SSLv3": lambda suite: suite.old,
    "TLSv1": lambda suite: suite.old,
    "TLSv1.2": lambda suite: not suite.old,
}
_WORD: Final = re.compile(r"[A-Za-z0-9._-]+")
_TRIED_ALONE: Final = re.compile(r"[:+!\[|\]]")

CURVES: Final = {
    "P-256": "P-256",
    "prime256v1": "P-256",
    "P-384": "P-384",
    "secp384r1": "P-384",
    "P-521": "P-521",
    "secp521r1": "P-521",
    "X25519": "X25519",
    "x25519": "X25519",
    "X25519MLKEM768": "X25519MLKEM768",
    "MLKEM1024": "MLKEM1024",
}
SIGNATURES: Final = {
    "rsa_pkcs1_sha1": "RSA+SHA1",
    "rsa_pkcs1_sha256": "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384": "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512": "rsa_pkcs1_sha512",
    "rsa_pss_rsae_sha256": "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384": "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512": "rsa_pss_rsae_sha512",
    "ecdsa_sha1": "ECDSA+SHA1",
    "ecdsa_secp256r1_sha256": "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384": "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512": "ecdsa_secp521r1_sha512",
    "ed25519": "ed25519",
    "RSA+SHA1": "RSA+SHA1",
    "RSA+SHA256": "rsa_pkcs1_sha256",
    "RSA+SHA384": "rsa_pkcs1_sha384",
    "RSA+SHA512": "rsa_pkcs1_sha512",
    "RSA-PSS+SHA256": "rsa_pss_rsae_sha256",
    "RSA-PSS+SHA384": "rsa_pss_rsae_sha384",
    "RSA-PSS+SHA512": "rsa_pss_rsae_sha512",
    "PSS+SHA256": "rsa_pss_rsae_sha256",
    "PSS+SHA384": "rsa_pss_rsae_sha384",
    "PSS+SHA512": "rsa_pss_rsae_sha512",
    "ECDSA+SHA1": "ECDSA+SHA1",
    "ECDSA+SHA256": "ecdsa_secp256r1_sha256",
    "ECDSA+SHA384": "ecdsa_secp384r1_sha384",
    "ECDSA+SHA512": "ecdsa_secp521r1_sha512",
}
"""BoringSSL's names to those that every OpenSSL knows."""


def known_names(names: Iterable[str], known: dict[str, str]) -> tuple[str, ...] | None:
    """What OpenSSL calls them, each once; None if BoringSSL does not take the list."""
    found = [known.get(name, "") for name in ":".join(names).split(":")]
    return tuple(found) if all(found) and len(set(found)) == len(found) else None


def cipher_groups(rules: str) -> tuple[tuple[str, ...], ...] | None:
    """What is chosen, most preferred first; those of a group are equally good. None: BoringSSL takes no such rules."""
    chosen = _Chosen()
    try:
        chosen.apply(rules)
    except ValueError:
        return None
    return chosen.groups() or None


def rejected_names(rules: str) -> list[str]:
    """Of the names in rules that are not taken, those that are not known, as Envoy looks for them."""
    names = (part.removeprefix("-") for part in _TRIED_ALONE.split(rules) if part)
    return [name for name in names if cipher_groups(name) is None]


class _Chosen:
    """A list of suites while rules are applied to it."""

    def __init__(self) -> None:
        self._waiting = [suite for suite in SUITES if suite.name not in _UNUSUAL]
        self._waiting += [suite for suite in SUITES if suite.name in _UNUSUAL]
        self._active: list[Suite] = []
        self._joined: set[str] = set()
        """Names of suites that are as good as the one after them."""

    def groups(self) -> tuple[tuple[str, ...], ...]:
        found: list[list[str]] = []
        open_group = False
        for suite in self._active:
            if open_group:
                found[-1].append(suite.name)
            else:
                found.append([suite.name])
            open_group = suite.name in self._joined
        return tuple(map(tuple, found))

    def apply(self, rules: str) -> None:
        """Raises ValueError."""
        at, in_group, has_group = 0, False, False
        if rules.startswith("DEFAULT"):
            at = len("DEFAULT")
            self._add(self._matching("ALL"), False)
        while at < len(rules):
            letter, rule = rules[at], "add"
            if in_group and letter == "]":
                if self._active:
                    self._joined.discard(self._active[-1].name)
                in_group = False
                at += 1
                continue
            if in_group and letter == "|":
                at += 1
                continue
            if in_group and not letter.isalnum():
                raise ValueError("an operator in a group")
            if not in_group and letter in "-+!@":
                rule = letter
                at += 1
            elif letter == "[":
                in_group = has_group = True
                at += 1
                continue
            if has_group and rule != "add":
                raise ValueError("an operator beside a group")
            if letter == ":":
                at += 1
                continue
            at = self._apply_one(rules, at, rule, in_group)
        if in_group:
            raise ValueError("a group that stays open")

    def _apply_one(self, rules: str, at: int, rule: str, in_group: bool) -> int:
        names = []
        while True:
            word = _WORD.match(rules, at)
            if word is None:
                raise ValueError("no name")
            names.append(word[0])
            at = word.end()
            if rule == "@" or rules[at : at + 1] != "+":
                break
            at += 1
        if rule == "@":
            if names != ["STRENGTH"]:
                raise ValueError("an unknown command")
            return at
        matching = self._matching(*names)
        if rule == "add":
            self._add(matching, in_group)
        elif rule == "+":
            moved = [suite for suite in self._active if suite in matching]
            self._active = [suite for suite in self._active if suite not in matching] + moved
        else:
            gone = [suite for suite in self._active if suite in matching]
            self._active = [suite for suite in self._active if suite not in matching]
            if rule == "-":
                self._waiting = gone + self._waiting
            else:
                self._waiting = [suite for suite in self._waiting if suite not in matching]
        return at

    def _matching(self, *names: str) -> Sequence[Suite]:
        if len(names) == 1:
            name = names[0]
            if name in _TLS_13:
                return ()
            for suite in SUITES:
                if name in (suite.name, suite.standard_name):
                    return (suite,)
        kinds = [_ALIASES.get(name) for name in names]
        if None in kinds:
            raise ValueError("an unknown name")
        usual = [suite for suite in SUITES if suite.name not in _UNUSUAL]
        return [suite for suite in usual if all(kind is not None and kind(suite) for kind in kinds)]

    def _add(self, matching: Sequence[Suite], in_group: bool) -> None:
        for suite in [each for each in self._waiting if each in matching]:
            self._waiting.remove(suite)
            self._active.append(suite)
            if in_group:
                self._joined.add(suite.name)
            else:
                self._joined.discard(suite.name)
