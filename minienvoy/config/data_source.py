"""Text or bytes that a configuration holds, or tells where to find.

Envoy: `Config::DataSource::read` (source/common/config/datasource.cc); `envoy.config.core.v3.DataSource`.
"""

from __future__ import annotations

import os
from typing import Any

from minienvoy.errors import ConfigError

from .fields import honours

honours("envoy.config.core.v3.DataSource", "filename", "inline_bytes", "inline_string", "environment_variable")


def read_data_source(source: Any, path: str = "", *, allow_empty: bool = True, max_size: int = 0) -> bytes:
    """What a `DataSource` holds, read once.

    Args:
        path: where the message stands, for errors.
        max_size: of a file, in bytes; 0 for any size.

    Raises:
        ConfigError: the file can not be read or is too large, the variable does not exist, or nothing is there.
    """
    kind = source.WhichOneof("specifier")
    data = b""
    if kind == "filename":
        data = _read_file(source.filename, f"{path}.filename", max_size)
    elif kind == "inline_bytes":
        data = source.inline_bytes
    elif kind == "inline_string":
        data = source.inline_string.encode()
    elif kind == "environment_variable":
        name = source.environment_variable
        if name not in os.environ:
            raise ConfigError(f"Environment variable doesn't exist: {name}", f"{path}.environment_variable")
        data = os.environb[name.encode()]
    elif not allow_empty:
        raise ConfigError("Unexpected DataSource::specifier_case(): 0", path)
    if not data and not allow_empty:
        raise ConfigError("DataSource cannot be empty", path)
    return data


def _read_file(name: str, path: str, max_size: int) -> bytes:
    try:
        with open(name, "rb") as file:  # noqa: PTH123 (importing pathlib costs 5 ms)
            data = file.read(max_size + 1 if max_size else -1)
    except OSError as error:
        raise ConfigError(f"unable to read file: {name}", path, remedy=error.strerror or str(error)) from None
    if max_size and len(data) > max_size:
        raise ConfigError(f"file {name} is larger than {max_size} bytes", path)
    return data
