"""The descriptor set of the conformance scenarios, as the transcoder reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minienvoy.config import schema
from minienvoy.extensions.filters.http.grpc_json_transcoder.types import MessageType, TypeHelper

LIBRARY = Path(__file__).parents[5] / "conformance" / "descriptors" / "library.binpb"


class Library:
    """Its types, and classes of its messages to compare with."""

    def __init__(self) -> None:
        descriptors = schema.message_class("google.protobuf.FileDescriptorSet")()
        descriptors.ParseFromString(LIBRARY.read_bytes())
        pool = schema.new_pool()
        for file in descriptors.file:
            pool.AddSerializedFile(file.SerializeToString())
        self.types = TypeHelper(pool)

    def type(self, name: str) -> MessageType:
        found = self.types.find(name)
        assert found is not None
        return found

    def message(self, name: str, **fields: Any) -> Any:
        return schema.class_of(self.types.pool.FindMessageTypeByName(name))(**fields)


@pytest.fixture(scope="session")
def library() -> Library:
    return Library()
