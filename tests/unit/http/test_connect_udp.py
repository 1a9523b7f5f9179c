"""Whom a UDP tunnel is for."""

from __future__ import annotations

import pytest

from minienvoy.http.connect_udp import is_connect_udp, rewrite_authority
from minienvoy.http.header_map import RequestHeaderMap


def request(path: bytes, upgrade: bytes = b"connect-udp") -> RequestHeaderMap:
    headers = RequestHeaderMap(b"GET", path, b"proxy.test")
    headers.add(b"upgrade", upgrade)
    return headers


def test_the_upgrade_is_named_in_any_case() -> None:
    assert is_connect_udp(request(b"/", b"Connect-UDP"))
    assert not is_connect_udp(request(b"/", b"websocket"))


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (b"192.0.2.1/443/", b"192.0.2.1:443"),
        (b"2001%3Adb8%3A%3A1/443/", b"[2001:db8::1]:443"),
        (b"b.test/%35%33/", b"b.test:53"),
    ],
)
def test_the_target_in_the_path_becomes_the_authority(target: bytes, authority: bytes) -> None:
    headers = request(b"/.well-known/masque/udp/" + target)
    assert rewrite_authority(headers)
    assert headers.authority == authority


@pytest.mark.parametrize(
    "path",
    [
        b"/x",
        b"/.well-known/masque/udp/b.test//",
        b"/.well-known/masque/udp//53/",
        b"/.well-known/masque/udp/b.test/53",
        b"/.well-known/masque/udp/b.test/53/x",
        b"/.well-known/masque/udp/fe80%3A%3A1%25eth0/53/",
        b"/.well-known/masque/udp/b\xfc/53/",
    ],
)
def test_a_path_without_a_target_is_refused(path: bytes) -> None:
    headers = request(path)
    assert not rewrite_authority(headers)
    assert headers.authority == b"proxy.test"
