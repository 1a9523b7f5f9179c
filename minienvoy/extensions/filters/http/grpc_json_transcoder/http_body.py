"""`google.api.HttpBody`: bodies that are not JSON, within a message.

Envoy: `Extensions::HttpFilters::GrpcJsonTranscoder::HttpBodyUtils`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from .types import FieldType
from .wire import BYTES, WireError, fields, length_delimited, varint

HTTP_BODY: Final = "google.api.HttpBody"
_CONTENT_TYPE, _DATA, _EXTENSIONS = 1, 2, 3
_UNKNOWN_PARAMETERS: Final = (
    b"type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.UnknownQueryParams"
)


def enclose(path: Sequence[FieldType], content_type: bytes, data: bytes, unknown: Mapping[str, Sequence[str]]) -> bytes:
    """A body as the field that `path` leads to; `unknown` are query parameters that no field takes."""
    body = length_delimited(_CONTENT_TYPE, content_type) if content_type else b""
    if unknown:
        body += length_delimited(_EXTENSIONS, _any_of_unknown(unknown))
    # The data comes last, whatever its number is, and is there even if it is empty.
    body += varint(_DATA << 3 | BYTES) + varint(len(data)) + data
    for field in reversed(path):
        body = length_delimited(field.number, body)
    return body


def _any_of_unknown(unknown: Mapping[str, Sequence[str]]) -> bytes:
    entries = b""
    for key in sorted(unknown):
        values = b"".join(length_delimited(1, _raw(value)) for value in unknown[key])
        entries += length_delimited(1, length_delimited(1, _raw(key)) + length_delimited(2, values))
    return length_delimited(1, _UNKNOWN_PARAMETERS) + length_delimited(2, entries)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def disclose(path: Sequence[FieldType], message: bytes) -> tuple[bytes, bytes]:
    """The content type and the data of the body that `path` leads to; raises WireError."""
    content_type = data = b""
    for body in _at(path, message):
        for number, kind, value in fields(body):
            if kind != BYTES or not isinstance(value, bytes):
                continue
            if number == _EXTENSIONS:
                # Envoy reads no messages within a body.
                raise WireError("allowed depth exceeded")
            if number == _CONTENT_TYPE:
                content_type = value
            elif number == _DATA:
                data = value
    return content_type, data


def _at(path: Sequence[FieldType], message: bytes) -> list[bytes]:
    """Each that is there: several of them count as one."""
    found = [message]
    for field in path:
        deeper = []
        for each in found:
            for number, kind, value in fields(each):
                if number == field.number and kind == BYTES and isinstance(value, bytes):
                    deeper.append(value)
        found = deeper
    return found


__all__ = ["HTTP_BODY", "WireError", "disclose", "enclose"]
