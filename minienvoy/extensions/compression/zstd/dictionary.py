"""Dictionaries that Zstandard begins with.

Envoy: `Compression::Zstd::Common::DictionaryManager`. Not implemented: a file is not watched for changes.
"""

from __future__ import annotations

from typing import Any

from ....config.data_source import read_data_source
from ....errors import ConfigError


def read_dictionary(zstandard: Any, source: Any, path: str) -> Any:
    """A `ZstdCompressionDict`.

    Raises:
        ConfigError: it can not be read, or is none.
    """
    data = read_data_source(source, path, allow_empty=False)
    try:
        dictionary = zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)
    except (zstandard.ZstdError, ValueError):
        dictionary = None
    if dictionary is None or not dictionary.dict_id():
        raise ConfigError("Illegal Zstd dictionary", path, remedy="zstd --train makes one")
    return dictionary
