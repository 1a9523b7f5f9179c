from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from minienvoy.extensions.network.dns_resolver import interfaces

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is asked is Linux")


def test_a_family_whose_only_address_is_loopback_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "if_inet6"
    table.write_text("0" * 31 + "1 01 80 10 80       lo\n")
    monkeypatch.setattr(interfaces, "_IPV6_ADDRESSES", table)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo")])
    assert interfaces.available_families() == frozenset()


def test_a_family_with_an_address_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "if_inet6"
    table.write_text("0" * 31 + "1 01 80 10 80       lo\nfd" + "0" * 29 + "2 04 40 00 82     eth0\n")
    monkeypatch.setattr(interfaces, "_IPV6_ADDRESSES", table)
    monkeypatch.setattr(socket, "if_nameindex", list)
    assert interfaces.available_families() == {socket.AF_INET6}


def test_where_the_kernel_has_no_ipv6_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "_IPV6_ADDRESSES", tmp_path / "missing")
    assert socket.AF_INET6 not in interfaces.available_families()
