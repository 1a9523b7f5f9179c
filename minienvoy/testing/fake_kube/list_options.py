"""What a list or a watch asks for, and what of it contradicts itself.

Kubernetes: `metav1.ListOptions` and its validation; continue tokens are those of `storage.EncodeContinue`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .api_error import ApiError, bad_request, invalid

_TRUE: Final = ("1", "true", "True", "t", "T")
INCONSISTENT: Final = -1
"""As the version of a continue token: the rest of the list as it is now."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Attributes are named as the parameters are; `version` is `resourceVersion`, None if there is none."""

    watch: bool
    version: int | None
    version_match: str
    limit: int
    continue_token: str
    label_selector: str
    field_selector: str
    allow_bookmarks: bool
    send_initial_events: bool | None
    timeout: float | None
    """Seconds."""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> ListOptions:
        """Raises ApiError for what can not be read or does not go together."""
        initial = query.get("sendInitialEvents")
        options = cls(
            watch=query.get("watch") in _TRUE,
            version=_version(query.get("resourceVersion", "")),
            version_match=query.get("resourceVersionMatch", ""),
            limit=_integer(query.get("limit", "")),
            continue_token=query.get("continue", ""),
            label_selector=query.get("labelSelector", ""),
            field_selector=query.get("fieldSelector", ""),
            allow_bookmarks=query.get("allowWatchBookmarks") in _TRUE,
            send_initial_events=None if initial is None else initial in _TRUE,
            timeout=float(_integer(query["timeoutSeconds"])) if query.get("timeoutSeconds") else None,
        )
        options._check()
        return options

    def _check(self) -> None:
        causes = []
        if self.watch:
            if self.send_initial_events is not None and self.version_match != "NotOlderThan":
                text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                causes.append(("resourceVersionMatch", text))
            elif self.send_initial_events is None and self.version_match:
                text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
                causes.append(("resourceVersionMatch", text))
        else:
            if self.version_match and self.version is None:
                text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
                causes.append(("resourceVersionMatch", text))
            if self.send_initial_events is not None:
                causes.append(("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        if causes:
            told = [("FieldValueForbidden", f"Forbidden: {text}", field) for field, text in causes]
            raise invalid("meta.k8s.io", "ListOptions", "", told)
        if self.continue_token and self.version:
            raise bad_request("specifying resource version is not allowed when using continue")


def _integer(text: str) -> int:
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _version(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise ApiError(500, "", message)
    return int(text)


def encode_continue(version: int, start: str) -> str:
    """`start`: the name that the rest comes after."""
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"{start}\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_continue(token: str) -> tuple[int, str]:
    """The version and the name that the rest comes after.

    Raises:
        ApiError: 400.
    """
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        raise bad_request("invalid continue token: continue key is not valid: illegal base64 data") from None
    try:
        content = json.loads(data)
        return int(content["rv"]), str(content["start"]).rstrip("\0").lstrip("/")
    except (ValueError, KeyError, TypeError):
        first = f"\\x{data[0]:02x}" if data and data[0] > 126 else chr(data[0]) if data else ""
        message = f"continue key is not valid: invalid character '{first}' looking for beginning of value"
        raise bad_request(f"invalid continue token: {message}") from None
