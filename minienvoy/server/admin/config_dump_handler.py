"""`/config_dump`: the configuration that is in use.

Envoy: `Server::ConfigDumpHandler` (`source/server/admin/config_dump_handler.cc`); docs "Administration interface".
What is annotated as sensitive is redacted. A field mask may reach into the one `Any` of a resource.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...config.schema import descriptor
from .name_filter import compile_full_name_filter
from .proto_json import ProtoPrinter
from .request import AdminRequest, AdminResponse, json_response, text_response

if TYPE_CHECKING:
    from .config_tracker import ConfigTracker

_ANY = "google.protobuf.Any"
_Mask = dict[str, Any]
"""Field to what is wanted of it; an empty one wants everything."""


class ConfigDumpHandler:
    def __init__(self, tracker: ConfigTracker) -> None:
        self._tracker = tracker

    def handler_config_dump(self, request: AdminRequest) -> AdminResponse:
        query = request.query
        pattern = query.first("name_regex") or ""
        try:
            matcher = compile_full_name_filter(pattern) if pattern else _every_name
        except ValueError as error:
            return text_response(
                f"INVALID_ARGUMENT: Error while parsing name_regex from {pattern}: {error}", 400, "text/plain"
            )
        dumpers = self._tracker.dumpers(include_eds="include_eds" in query)
        dumps = [dumper(matcher) for dumper in dumpers.values()]
        mask = query.first("mask") or ""
        resource = query.first("resource") or ""
        if resource:
            return _answer_resource(dumps, resource, mask)
        return _answer_all(dumps, mask)


def _every_name(name: str) -> bool:
    return True


def _answer_all(dumps: list[Any], mask: str) -> AdminResponse:
    printer = ProtoPrinter(redact=True)
    configs = []
    for dump in dumps:
        printed = {"@type": f"type.googleapis.com/{dump.DESCRIPTOR.full_name}", **printer.message(dump)}
        if mask:
            wanted = _parse_mask(mask, dump.DESCRIPTOR, printed)
            if wanted is None:
                continue
            printed = _apply(wanted, printed)
        configs.append(printed)
    if mask and not configs:
        return _refused(f"FieldMask {mask} could not be successfully applied to any configs.", 400)
    return json_response({"configs": configs} if configs else {})


def _answer_resource(dumps: list[Any], resource: str, mask: str) -> AdminResponse:
    printer = ProtoPrinter(redact=True)
    for dump in dumps:
        field = dump.DESCRIPTOR.fields_by_name.get(resource)
        if field is None:
            continue
        values = getattr(dump, resource)
        if field.message_type is None or not hasattr(values, "add"):
            return _refused(f"{resource} is not a repeated field. Use ?mask={resource} to get only this field", 400)
        configs = []
        for value in values:
            printed = {"@type": f"type.googleapis.com/{value.DESCRIPTOR.full_name}", **printer.message(value)}
            if mask:
                wanted = _parse_mask(mask, value.DESCRIPTOR, printed)
                if wanted is None or any(_is_any(value.DESCRIPTOR, path) for path in mask.split(",")):
                    paths = "".join(f'paths: "{path}"\n' for path in mask.split(","))
                    return _refused(f"FieldMask {paths} could not be successfully used.", 400)
                printed = _apply(wanted, printed)
            configs.append(printed)
        return json_response({"configs": configs} if configs else {})
    return _refused(f"{resource} not found in config dump", 404)


def _is_any(shape: Any, name: str) -> bool:
    """Whether `name` is a field that holds a message of any type: a mask has to say what of that."""
    field = shape.fields_by_name.get(name)
    return field is not None and field.message_type is not None and field.message_type.full_name == _ANY


def _refused(text: str, status: int) -> AdminResponse:
    response = text_response(text, status, "text/plain")
    response.headers.insert(0, ("x-content-type-options", "nosniff"))
    return response


def _parse_mask(text: str, shape: Any, printed: Any) -> _Mask | None:
    """None if one of the paths does not exist in `shape`, which `printed` is an example of."""
    wanted: _Mask = {}
    for path in text.split(","):
        names = path.split(".")
        if not _exists(names, shape, printed):
            return None
        level = wanted
        for name in names[:-1]:
            if name in level and not level[name]:
                break  # all of it is wanted already
            level = level.setdefault(name, {})
        else:
            level[names[-1]] = {}
    return wanted


def _exists(names: list[str], shape: Any, printed: Any) -> bool:
    """Only the last name may be of a repeated field, as in protobuf's own masks."""
    for position, name in enumerate(names):
        if shape.full_name == _ANY:
            if not isinstance(printed, dict) or "@type" not in printed:
                return False

            try:
                shape = descriptor(printed["@type"].rpartition("/")[2])
            except KeyError:
                return False
        field = shape.fields_by_name.get(name)
        if field is None:
            return False
        if position + 1 == len(names):
            return True
        printed = printed.get(name, {}) if isinstance(printed, dict) else {}
        if field.message_type is None or isinstance(printed, list):
            return False
        shape = field.message_type
    return True


def _apply(wanted: _Mask, printed: Any) -> Any:
    if not wanted or not isinstance(printed, dict):
        return printed
    return {
        name: _apply(wanted.get(name, {}), value)
        for name, value in printed.items()
        if name in wanted or name == "@type"
    }
