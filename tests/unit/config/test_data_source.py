from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minienvoy.config.data_source import read_data_source
from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError


def read(options: dict[str, Any] | None = None, **source: Any) -> bytes:
    return read_data_source(load_dict(source, "envoy.config.core.v3.DataSource").message, "at", **(options or {}))


def test_inline() -> None:
    assert read(inline_string="ü") == b"\xc3\xbc"
    assert read(inline_bytes="AP8=") == b"\0\xff"


def test_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIENVOY_TEST", "x")
    assert read(environment_variable="MINIENVOY_TEST") == b"x"
    monkeypatch.delenv("MINIENVOY_TEST")
    with pytest.raises(ConfigError, match="Environment variable doesn't exist: MINIENVOY_TEST"):
        read(environment_variable="MINIENVOY_TEST")


def test_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert read(filename=str(tmp_path / "f")) == b"12345"
    with pytest.raises(ConfigError, match=r"at\.filename: file .* is larger than 4 bytes"):
        read({"max_size": 4}, filename=str(tmp_path / "f"))
    with pytest.raises(ConfigError, match=f"unable to read file: {tmp_path}/none"):
        read(filename=f"{tmp_path}/none")


def test_nothing_is_an_error_where_something_is_needed() -> None:
    with pytest.raises(ConfigError, match="DataSource cannot be empty"):
        read({"allow_empty": False}, inline_string="")
