"""What a transcoder knows: the methods, how they are called over HTTP, and how their messages look.

Envoy: `Extensions::HttpFilters::GrpcJsonTranscoder::JsonTranscoderConfig`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from .....config import schema
from .....config.fields import honours
from .....errors import ConfigError
from .....record import record
from .http_body import HTTP_BODY
from .json_printer import PrintError, PrintOptions, print_json
from .path_matcher import Binding, PathMatcher
from .request_translator import Bindings, RequestInfo
from .response_translator import ARRAY, EVENTS, LINES, ResponseInfo
from .types import FieldPathError, FieldType, MessageType, TypeHelper, resolve_field_path
from .wire import fields

NAME: Final = "envoy.filters.http.grpc_json_transcoder"
CONFIG_TYPE: Final = "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"
_HTTP_RULE: Final = 72295728
"""The number of the option `google.api.http` of a method."""
_KINDS: Final = {"get": "GET", "put": "PUT", "post": "POST", "delete": "DELETE", "patch": "PATCH"}

honours(
    CONFIG_TYPE,
    "proto_descriptor",
    "proto_descriptor_bin",
    "services",
    "print_options",
    "match_incoming_request_route",
    "ignored_query_parameters",
    "auto_mapping",
    "ignore_unknown_query_parameters",
    "convert_grpc_status",
    "url_unescape_spec",
    "query_param_unescape_plus",
    "match_unregistered_custom_verb",
    "request_validation_options",
    "case_insensitive_enum_parsing",
    "max_request_body_size",
    "max_response_body_size",
    "capture_unknown_query_parameters",
)
honours(
    f"{CONFIG_TYPE}.PrintOptions",
    "add_whitespace",
    "always_print_primitive_fields",
    "always_print_enums_as_ints",
    "preserve_proto_field_names",
    "stream_newline_delimited",
    "stream_sse_style_delimited",
)
honours(
    f"{CONFIG_TYPE}.RequestValidationOptions",
    "reject_unknown_method",
    "reject_unknown_query_parameters",
    "reject_binding_body_field_collisions",
)


@record
class MethodInfo:
    """One method. `request_body` and `response_body` lead to the `HttpBody` in its messages, None if there is none."""

    path: bytes
    client_streaming: bool
    server_streaming: bool
    request_body: tuple[FieldType, ...] | None
    response_body: tuple[FieldType, ...] | None
    request: MessageType
    response: ResponseInfo


class Call(NamedTuple):
    """What a request asks for; `unknown` are query parameters that no field takes.

    `info` tells where the body goes and what its messages are.
    """

    method: MethodInfo
    info: RequestInfo
    bindings: Bindings
    unknown: dict[str, list[str]]


class UnknownMethod(Exception):
    """No method is called by that path."""


class JsonTranscoderConfig:
    """Compiled once; None in place of one stands for a transcoder that does nothing (`services` is empty)."""

    __slots__ = (
        "_captures_unknown",
        "_ignores_case",
        "_ignores_unknown",
        "_matcher",
        "_print_options",
        "_reports_collisions",
        "_types",
        "converts_grpc_status",
        "max_request_body_size",
        "max_response_body_size",
        "rejects_unknown_method",
        "rejects_unknown_query_parameters",
        "sends_events",
        "uses_route_of_request",
    )

    def __init__(self, proto: Any, path: str) -> None:
        """Raises ConfigError in Envoy's words."""
        validation = proto.request_validation_options
        self.converts_grpc_status = proto.convert_grpc_status
        self.uses_route_of_request = proto.match_incoming_request_route
        self.rejects_unknown_method = validation.reject_unknown_method
        self.rejects_unknown_query_parameters = validation.reject_unknown_query_parameters
        self._reports_collisions = validation.reject_binding_body_field_collisions
        self._ignores_case = proto.case_insensitive_enum_parsing
        self._ignores_unknown = proto.ignore_unknown_query_parameters
        self._captures_unknown = proto.capture_unknown_query_parameters
        self.max_request_body_size = _wrapped(proto, "max_request_body_size")
        self.max_response_body_size = _wrapped(proto, "max_response_body_size")
        printing = proto.print_options
        self._print_options = PrintOptions(
            add_whitespace=printing.add_whitespace,
            always_print_primitive_fields=printing.always_print_primitive_fields,
            always_print_enums_as_ints=printing.always_print_enums_as_ints,
            preserve_proto_field_names=printing.preserve_proto_field_names,
        )
        self.sends_events = printing.stream_sse_style_delimited
        delimiting = EVENTS if self.sends_events else LINES if printing.stream_newline_delimited else ARRAY
        pool = _pool(_descriptor_set(proto, path), path)
        if self.converts_grpc_status:
            for builtin in ("google.protobuf.Any", "google.rpc.Status"):
                _add_builtin(pool, builtin)
        self._types = TypeHelper(pool)
        self._matcher = PathMatcher(
            ignored_parameters=proto.ignored_query_parameters,
            unescape_spec=proto.url_unescape_spec,
            unescapes_plus=proto.query_param_unescape_plus,
            matches_unregistered_verb=proto.match_unregistered_custom_verb,
        )
        for name in proto.services:
            try:
                service = pool.FindServiceByName(name)
            except KeyError:
                problem = f"transcoding_filter: Could not find '{name}' in the proto descriptor"
                raise ConfigError(problem, f"{path}.services") from None
            for method in service.methods:
                self._register(method, proto.auto_mapping, delimiting, path)

    def _register(self, descriptor: Any, auto_mapping: bool, delimiting: int, path: str) -> None:
        rule = _http_rule(descriptor)
        if rule is None:
            rule = schema.message_class("google.api.HttpRule")()
            if auto_mapping:
                rule.post, rule.body = f"/{descriptor.containing_service.full_name}/{descriptor.name}", "*"
        try:
            method = self._method(descriptor, rule, delimiting)
        except FieldPathError as problem:
            why = f"transcoding_filter: Cannot register '{descriptor.full_name}': {problem}"
            raise ConfigError(why, path) from None
        if not self._register_rule(rule, method):
            why = f"transcoding_filter: Cannot register '{descriptor.full_name}' to path matcher"
            raise ConfigError(why, path)

    def _register_rule(self, rule: Any, method: MethodInfo) -> bool:
        kind = rule.WhichOneof("pattern")
        if kind == "custom":
            if not self._matcher.register(rule.custom.kind, rule.custom.path, rule.body, method):
                return False
        elif kind is not None and not self._matcher.register(_KINDS[kind], getattr(rule, kind), rule.body, method):
            return False
        return all(self._register_rule(more, method) for more in rule.additional_bindings)

    def _method(self, descriptor: Any, rule: Any, delimiting: int) -> MethodInfo:
        request = self._types.of(descriptor.input_type)
        response = self._types.of(descriptor.output_type)
        request_body = _http_body(request, rule.body)
        response_body = _http_body(response, rule.response_body)
        if response_body is None and _names(rule.response_body):
            problem = 'Setting "response_body" is not supported yet for non-HttpBody fields: '
            raise FieldPathError(problem + descriptor.full_name)
        return MethodInfo(
            path=f"/{descriptor.containing_service.full_name}/{descriptor.name}".encode(),
            client_streaming=descriptor.client_streaming,
            server_streaming=descriptor.server_streaming,
            request_body=request_body,
            response_body=response_body,
            request=request,
            response=ResponseInfo(
                types=self._types,
                message=response,
                streaming=descriptor.server_streaming,
                delimiting=delimiting,
                options=self._print_options,
            ),
        )

    def find(self, http_method: bytes, target: bytes) -> Call:
        """The method that a request calls; raises UnknownMethod or FieldPathError."""
        path, _, query = target.partition(b"?")
        found = self._matcher.lookup(http_method.decode("latin-1"), path, query)
        if found is None:
            raise UnknownMethod(f"Could not resolve {path.decode('latin-1')} to a method.")
        method, body, said = found
        bindings: list[tuple[list[FieldType], str]] = []
        unknown: dict[str, list[str]] = {}
        for binding in said:
            resolved = self._resolve(method, binding, unknown)
            if resolved is not None:
                bindings.append((resolved, binding.value))
        return Call(
            method=method,
            info=RequestInfo(
                types=self._types,
                message=method.request,
                body=_names(body),
                ignores_case=self._ignores_case,
                reports_collisions=self._reports_collisions,
            ),
            bindings=bindings,
            unknown=unknown,
        )

    def _resolve(self, method: MethodInfo, binding: Binding, unknown: dict[str, list[str]]) -> list[FieldType] | None:
        """The fields that a binding is about; None if it is about none that is written."""
        try:
            resolved = resolve_field_path(method.request, binding.field_path)
        except FieldPathError:
            if self._captures_unknown:
                unknown.setdefault(".".join(binding.field_path), []).append(binding.value)
            elif not self._ignores_unknown:
                raise
            return None
        body = method.request_body
        # An HttpBody is what was sent, and nothing of it is said elsewhere.
        if body is not None and [field.number for field in resolved[: len(body)]] == [field.number for field in body]:
            return None
        return resolved

    def print_status(self, status: bytes) -> bytes | None:
        """A `google.rpc.Status` as JSON; None if it can not be shown."""
        kind = self._types.find("google.rpc.Status")
        if kind is None:
            return None
        try:
            return print_json(self._types, kind, status, self._print_options)
        except PrintError:
            return None


def _wrapped(proto: Any, name: str) -> int | None:
    return getattr(proto, name).value if proto.HasField(name) else None


def _names(path: str) -> tuple[str, ...]:
    return () if path == "*" else tuple(name for name in path.split(".") if name)


def _http_body(message: MessageType, path: str) -> tuple[FieldType, ...] | None:
    """The fields that lead to an `HttpBody`; None if they lead to something else."""
    resolved = resolve_field_path(message, _names(path))
    last = resolved[-1].message if resolved else message
    return tuple(resolved) if last is not None and last.full_name == HTTP_BODY else None


def _descriptor_set(proto: Any, path: str) -> Any:
    kind = proto.WhichOneof("descriptor_set")
    if kind is None:
        raise ConfigError("transcoding_filter: descriptor not set", path)
    if kind == "proto_descriptor":
        try:
            data = Path(proto.proto_descriptor).read_bytes()
        except OSError:
            problem = f"Invalid path: {proto.proto_descriptor}"
            raise ConfigError(problem, f"{path}.proto_descriptor") from None
    else:
        data = proto.proto_descriptor_bin
    descriptors = schema.message_class("google.protobuf.FileDescriptorSet")()
    try:
        descriptors.ParseFromString(data)
    except Exception as problem:
        if type(problem).__name__ != "DecodeError":
            raise
        raise ConfigError("transcoding_filter: Unable to parse proto descriptor", f"{path}.{kind}") from None
    return descriptors


def _pool(descriptors: Any, path: str) -> Any:
    pool = schema.new_pool()
    for file in descriptors.file:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError:
            raise ConfigError("transcoding_filter: Unable to build proto descriptor pool", path) from None
    return pool


def _add_builtin(pool: Any, name: str) -> None:
    """Give the pool a type that minienvoy's own schema has, unless it is there."""
    try:
        pool.FindMessageTypeByName(name)
    except KeyError:
        opened = schema.schema()
        pool.AddSerializedFile(opened.raw_file(opened.file_of(name)))


def _http_rule(method: Any) -> Any:
    """The option `google.api.http` of a method, or None; its pool need not know what that is."""
    rule = None
    for number, _, value in fields(method.GetOptions().SerializeToString()):
        if number == _HTTP_RULE:
            rule = rule or schema.message_class("google.api.HttpRule")()
            rule.MergeFromString(value)
    return rule
