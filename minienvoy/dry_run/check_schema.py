"""The messages that a file of route checks is made of.

Envoy: `test/tools/router_check/validation.proto` (package `envoy.RouterCheckToolSchema`), which is no part of the API
and so not in the schema. It is put together here from the same fields; those of earlier versions are understood, too.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from ..config import schema
from ..config.loader import LoadedConfig, load_file
from ..errors import ConfigError

_PACKAGE: Final = "envoy.RouterCheckToolSchema"
_STRING, _BOOL, _UINT64 = 9, 8, 4
_HEADER: Final = "envoy.config.core.v3.HeaderValue"
_MATCHER: Final = "envoy.config.route.v3.HeaderMatcher"

_MESSAGES: Final[dict[str, dict[str, int | str]]] = {
    "Validation": {"runtime": "google.protobuf.Struct", "tests": f"*{_PACKAGE}.ValidationItem"},
    "ValidationItem": {
        "test_name": _STRING,
        "input": f"{_PACKAGE}.ValidationInput",
        "validate": f"{_PACKAGE}.ValidationAssert",
    },
    "ValidationInput": {
        "authority": _STRING,
        "path": _STRING,
        "method": _STRING,
        "random_value": _UINT64,
        "ssl": _BOOL,
        "internal": _BOOL,
        "additional_headers": f"*{_HEADER}",
        "additional_request_headers": f"*{_HEADER}",
        "additional_response_headers": f"*{_HEADER}",
        "runtime": _STRING,
        "dynamic_metadata": "*envoy.extensions.filters.http.set_metadata.v3.Metadata",
    },
    "ValidationAssert": {
        **dict.fromkeys(
            (
                "cluster_name",
                "virtual_cluster_name",
                "virtual_host_name",
                "host_rewrite",
                "path_rewrite",
                "path_redirect",
            ),
            "google.protobuf.StringValue",
        ),
        "code_redirect": "google.protobuf.UInt32Value",
        **dict.fromkeys(
            ("header_fields", "custom_header_fields", "request_header_fields", "response_header_fields"), f"*{_HEADER}"
        ),
        **dict.fromkeys(("request_header_matches", "response_header_matches"), f"*{_MATCHER}"),
    },
}
"""Message -> field -> type: a number of protobuf's, or the name of a message with a star before a list."""

_AT_LEAST: Final = {"authority": 1, "path": 1, "method": 3}
"""Characters, as the constraints of the tool's schema have it."""


@cache
def validation_class() -> Any:
    """The class of `envoy.RouterCheckToolSchema.Validation`."""
    types = {kind.lstrip("*") for fields in _MESSAGES.values() for kind in fields.values() if isinstance(kind, str)}
    outside = sorted(kind for kind in types if not kind.startswith(_PACKAGE))
    file = schema.message_class("google.protobuf.FileDescriptorProto")()
    file.name, file.package, file.syntax = "minienvoy/route_check.proto", _PACKAGE, "proto3"
    file.dependency.extend(sorted({schema.descriptor(name).file.name for name in outside}))
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add()
        message.name = message_name
        for number, (name, kind) in enumerate(fields.items(), 1):
            field = message.field.add()
            field.name, field.number, field.label = name, number, 1
            if isinstance(kind, int):
                field.type = kind
                continue
            field.type, field.type_name = 11, "." + kind.lstrip("*")
            if kind[0] == "*":
                field.label = 3
    pool = schema.schema().pool
    pool.AddSerializedFile(file.SerializeToString())
    return schema.class_of(pool.FindMessageTypeByName(f"{_PACKAGE}.Validation"))


def load_checks(path: str) -> LoadedConfig:
    """The tests of a file: .yaml, .yml, .json, .pb_text or .pb.

    Raises:
        ConfigError: it can not be read, is not of this format, or a test lacks something.
    """
    loaded = load_file(path, f"{_PACKAGE}.Validation", made=validation_class())

    def refuse(problem: str, where: str, remedy: str) -> ConfigError:
        return ConfigError(problem, where, loaded.source.locate(where), remedy)

    if not loaded.message.tests:
        raise refuse("there are no tests", "tests", "give a list of test_name, input and validate")
    for index, test in enumerate(loaded.message.tests):
        here = f"tests[{index}]"
        if not test.test_name:
            raise refuse("test_name is empty", f"{here}.test_name", "give the test a name")
        for part in ("input", "validate"):
            if not test.HasField(part):
                raise refuse(f"test '{test.test_name}' has no {part}", here, f"add {part}: to it")
        for name, length in _AT_LEAST.items():
            if len(getattr(test.input, name)) < length:
                problem = f"{name} of test '{test.test_name}' must have at least {length} characters"
                example = {"authority": "example.com", "path": "/", "method": "GET"}[name]
                raise refuse(problem, f"{here}.input.{name}", f"such as {name}: {example}")
    return loaded


def is_route_configuration(path: str) -> bool:
    """Whether a file holds routes alone, as the tool takes them, and not a bootstrap."""
    from ..config.json_reader import read_json
    from ..config.yaml_reader import read_yaml

    file = Path(path)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    try:
        value = read_yaml(text) if file.suffix.lower() in (".yaml", ".yml") else read_json(text)
    except ConfigError:
        return False
    return isinstance(value, dict) and ("virtual_hosts" in value or "virtualHosts" in value)
