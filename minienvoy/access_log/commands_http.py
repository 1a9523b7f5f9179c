"""Commands about headers, paths and queries.

Envoy: `source/common/formatter/http_specific_formatter.cc`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ..errors import ConfigError
from .command import (
    COMMAND_ONLY,
    LENGTH_ALLOWED,
    PARAMS_OPTIONAL,
    PARAMS_REQUIRED,
    Arguments,
    Command,
    CommandTable,
    Maker,
    command,
    simple,
    truncated,
)
from .context import FormatterContext, Headers

COMMANDS: Final[CommandTable] = {}

HeadersOf = Callable[[FormatterContext], Headers]

_HEADER_NAME: Final = re.compile(r":?[!#$%&'*+\-.^_`|~0-9A-Za-z]*")
_PSEUDO_HEADERS: Final = {":method": "method", ":path": "path", ":authority": "authority", "host": "authority"}


def _request_headers(context: FormatterContext) -> Headers:
    return context.request_headers


def _response_headers(context: FormatterContext) -> Headers:
    return context.response_headers


def _response_trailers(context: FormatterContext) -> Headers:
    return context.response_trailers


def _header_names(argument: str) -> tuple[str, str]:
    """`X?Y`: the header, and the one that stands in for it or an empty string."""
    names = argument.lower().split("?")
    if len(names) > 2:
        raise ConfigError(f"More than 1 alternative header specified in token: {argument}")
    if not all(_HEADER_NAME.fullmatch(name) for name in names):
        raise ConfigError("Invalid header configuration. Format string contains invalid characters.")
    return names[0], names[1] if len(names) > 1 else ""


def _pseudo_header(attribute: str) -> Callable[[FormatterContext], str | None]:
    """Straight from the attribute that holds it; an empty one is one that the request does not have.

    An authority may be there and empty.
    """

    def text(context: FormatterContext) -> str | None:
        headers = context.request_headers
        value: bytes | None = getattr(headers, attribute, None)
        if not value:
            there = attribute == "authority" and value is not None and not getattr(headers, "no_authority", True)
            return "" if there else None
        return value.decode("latin-1")

    return text


def _request_header(name: str) -> Callable[[FormatterContext], str | None]:
    if name in _PSEUDO_HEADERS:
        return _pseudo_header(_PSEUDO_HEADERS[name])
    key = name.encode()

    def text(context: FormatterContext) -> str | None:
        value = context.request_headers.get(key)
        return None if value is None else value.decode("latin-1")

    return text


def request_header_text(argument: str) -> Callable[[FormatterContext], str | None]:
    """What `%REQ(argument)%` prints, whole; raises ConfigError for a wrong argument."""
    main, alternative = _header_names(argument)
    if not alternative:
        return _request_header(main)
    first, second = _request_header(main), _request_header(alternative)

    def text(context: FormatterContext) -> str | None:
        value = first(context)
        return second(context) if value is None else value

    return text


def _request_header_command(arguments: Arguments) -> Command:
    return truncated(request_header_text(arguments.argument), arguments.max_length)


def _stream_request_header_command(arguments: Arguments) -> Command:
    """As `%REQ%`, also where a log is given no headers: the stream has them."""
    read = request_header_text(arguments.argument)

    def text(context: FormatterContext) -> str | None:
        headers = getattr(context.stream_info, "request_headers", None)
        return None if headers is None else read(FormatterContext(context.stream_info, headers))

    return truncated(text, arguments.max_length)


def _response_command(headers_of: HeadersOf) -> Maker:
    def make(arguments: Arguments) -> Command:
        main, alternative = (name.encode() for name in _header_names(arguments.argument))

        def text(context: FormatterContext) -> str | None:
            headers = headers_of(context)
            value = headers.get(main)
            if value is None and alternative:
                value = headers.get(alternative)
            return None if value is None else value.decode("latin-1")

        return truncated(text, arguments.max_length)

    return make


def _byte_size_command(headers_of: HeadersOf) -> Maker:
    made = simple(lambda context: sum(len(name) + len(value) for name, value in headers_of(context).pairs()))
    return lambda arguments: made


for _names, _maker in (
    (("REQ", "REQUEST_HEADER"), _request_header_command),
    (("RESP", "RESPONSE_HEADER"), _response_command(_response_headers)),
    (("TRAILER", "RESPONSE_TRAILER"), _response_command(_response_trailers)),
):
    for _name in _names:
        COMMANDS[_name] = (PARAMS_REQUIRED | LENGTH_ALLOWED, _maker)

COMMANDS["STREAM_INFO_REQ"] = (PARAMS_REQUIRED | LENGTH_ALLOWED, _stream_request_header_command)
COMMANDS["REQUEST_HEADERS_BYTES"] = (COMMAND_ONLY, _byte_size_command(_request_headers))
COMMANDS["RESPONSE_HEADERS_BYTES"] = (COMMAND_ONLY, _byte_size_command(_response_headers))
COMMANDS["RESPONSE_TRAILERS_BYTES"] = (COMMAND_ONLY, _byte_size_command(_response_trailers))


@command(COMMANDS, "LOCAL_REPLY_BODY")
def _local_reply_body(arguments: Arguments) -> Command:
    return simple(lambda context: context.local_reply_body)


@command(COMMANDS, "PATH", PARAMS_OPTIONAL | LENGTH_ALLOWED)
def _path(arguments: Arguments) -> Command:
    query, _, rest = arguments.argument.partition(":")
    source = rest.partition(":")[0]
    if query not in ("", "WQ", "NQ"):
        raise ConfigError(f"Invalid PATH option: '{query}', only 'WQ'/'NQ' are allowed")
    if source not in ("", "ORIG", "PATH", "ORIG_OR_PATH"):
        raise ConfigError(f"Invalid PATH option: '{source}', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed")
    original, current = _request_header("x-envoy-original-path"), _request_header(":path")

    def text(context: FormatterContext) -> str | None:
        path = None if source == "PATH" else original(context)
        if path is None and source != "ORIG":
            path = current(context)
        return path if path is None or query != "NQ" else path.partition("?")[0]

    return truncated(text, arguments.max_length)


@command(COMMANDS, "QUERY_PARAM", PARAMS_REQUIRED | LENGTH_ALLOWED)
def _query_param(arguments: Arguments) -> Command:
    path_of = _request_header(":path")
    from urllib.parse import unquote_to_bytes

    wanted = arguments.argument.encode()

    def text(context: FormatterContext) -> str | None:
        query = (path_of(context) or "").partition("?")[2]
        for pair in query.split("&") if query else ():
            name, _, value = pair.partition("=")
            if unquote_to_bytes(name) == wanted:
                return unquote_to_bytes(value.encode("latin-1")).decode("latin-1")
        return None

    return truncated(text, arguments.max_length)


@command(COMMANDS, "QUERY_PARAMS", PARAMS_OPTIONAL | LENGTH_ALLOWED)
def _query_params(arguments: Arguments) -> Command:
    how = arguments.argument
    if how not in ("", "ORIG", "DECODED"):
        raise ConfigError(f"Invalid QUERY_PARAMS option: '{how}', only 'ORIG'/'DECODED' are allowed")
    path_of = _request_header(":path")

    def text(context: FormatterContext) -> str | None:
        query = (path_of(context) or "").partition("?")[2]
        if how == "DECODED":
            query = _BROKEN_OR_ENCODED.sub(_decode_printable, query)
        return query or None

    return truncated(text, arguments.max_length)


_BROKEN_OR_ENCODED: Final = re.compile(r"%(?=..)([0-9A-Fa-f]{2})?", re.DOTALL)


def _decode_printable(match: re.Match[str]) -> str:
    """Only visible ASCII is decoded, and a `%` that encodes nothing is dropped unless it is at the end."""
    if match[1] is None:
        return ""
    character = chr(int(match[1], 16))
    return character if "!" <= character <= "~" else match[0]


_GRPC_STATUS_NAMES: Final = (
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
)
_GRPC_STATUS_OF_HTTP: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def grpc_status(context: FormatterContext) -> int | None:
    """What a gRPC client was told: from trailers, from headers, else guessed from the HTTP status.

    None if there is no answer; -1 for a `grpc-status` that is not a number. Envoy: `Grpc::Common::getGrpcStatus`.
    """
    for headers in (context.response_trailers, context.response_headers):
        value = headers.get(b"grpc-status")
        if value:
            return int(value) if value.isdigit() and len(value) < 10 else -1
    code = context.stream_info.response_code
    return None if code is None else _GRPC_STATUS_OF_HTTP.get(code, 2)


def is_grpc_request(headers: Headers) -> bool:
    """`content-type: application/grpc` or `application/grpc+...` (`Grpc::Common::isGrpcRequestHeaders`)."""
    content_type = headers.get(b"content-type")
    return content_type is not None and (
        content_type == b"application/grpc" or content_type.startswith(b"application/grpc+")
    )


@command(COMMANDS, "GRPC_STATUS", PARAMS_OPTIONAL)
def _grpc_status(arguments: Arguments) -> Command:
    how = arguments.argument or "CAMEL_STRING"
    if how not in ("CAMEL_STRING", "SNAKE_STRING", "NUMBER"):
        raise ConfigError(f"GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: {how}")
    column = 1 if how == "SNAKE_STRING" else 0

    def text(context: FormatterContext) -> str | int | None:
        status = grpc_status(context) if is_grpc_request(context.request_headers) else None
        if status is None or how == "NUMBER":
            return status
        return _GRPC_STATUS_NAMES[status][column] if 0 <= status < len(_GRPC_STATUS_NAMES) else str(status)

    return simple(text)


@command(COMMANDS, "GRPC_STATUS_NUMBER")
def _grpc_status_number(arguments: Arguments) -> Command:
    return _grpc_status(arguments._replace(argument="NUMBER"))
