"""What the incremental protocol knows of one type: which resources are wanted, and in which version they are here.

Envoy: `Config::DeltaSubscriptionState`, `Config::WatchMap`; xDS protocol, "Incremental xDS".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from .. import logger
from ..config.schema import message_class
from ..errors import ConfigError
from .grpc_mux import DISCOVERY, INTERNAL, TYPE_URL, rejected, shown_response, truncated
from .subscription import DecodedResource, decode_wrapped
from .ttl import TtlManager

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from .grpc_mux import WatchCallbacks

log = logger.get("config")
WILDCARD: Final = "*"


class Ack:
    """What a response is answered: its nonce, and why it could not be used, if it could not."""

    __slots__ = ("error", "nonce", "resource_type")

    def __init__(self, nonce: str, resource_type: str) -> None:
        self.nonce = nonce
        self.resource_type = resource_type
        self.error = ""


class DeltaWatch:
    """One subscription; without names it is for all resources."""

    __slots__ = ("callbacks", "names")

    def __init__(self, callbacks: WatchCallbacks) -> None:
        self.callbacks = callbacks
        self.names: frozenset[str] = frozenset()

    def takes(self, name: str) -> bool:
        return not self.names or name in self.names or WILDCARD in self.names


class DeltaSubscriptionState:
    """Attributes:
    watches: who wants resources of the type.
    """

    def __init__(self, resource_type: str, dispatcher: Dispatcher) -> None:
        self.resource_type = resource_type
        self.watches: list[DeltaWatch] = []
        self._requested: dict[str, str | None] = {}
        """Names that were asked for, and their versions; None while the server has not told of them."""
        self._wildcard: dict[str, str] = {}
        """What has come though nobody has asked for it by name."""
        self._ambiguous: dict[str, str] = {}
        """What is wanted by name no longer, and may be part of all that there is."""
        self._added: dict[str, None] = {}
        self._removed: dict[str, None] = {}
        self._initial_wildcard = True
        self._asked_on_stream = False
        self._ttl = TtlManager(dispatcher, self._on_expired)

    def stop(self) -> None:
        self._ttl.stop()

    # -- what is wanted

    def update_watch(self, watch: DeltaWatch, names: Collection[str]) -> None:
        """`watch` wants these from now on."""
        before, watch.names = watch.names, frozenset(names)
        others = {name for each in self.watches if each is not watch for name in each.names}
        self._add(sorted(watch.names - before - others))
        self._remove(sorted(before - watch.names - others))

    def remove_watch(self, watch: DeltaWatch) -> None:
        if watch in self.watches:
            self.update_watch(watch, ())
            self.watches.remove(watch)

    def _add(self, names: Sequence[str]) -> None:
        for name in names:
            if name != WILDCARD:
                self._initial_wildcard = False
            known = self._wildcard.pop(name, None)
            ambiguous = self._ambiguous.pop(name, None)
            self._requested[name] = ambiguous if known is None else known
            self._removed.pop(name, None)
            self._added[name] = None

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            there = name in self._requested
            version = self._requested.pop(name, None)
            if WILDCARD in self._requested and version is not None:
                self._ambiguous[name] = version
            self._added.pop(name, None)
            if there:
                self._removed[name] = None
                self._initial_wildcard = False
        if WILDCARD in names:
            self._wildcard.clear()
            self._ambiguous.clear()

    # -- requests

    def on_fresh_stream(self) -> None:
        """Nothing has been asked on the stream that there is now."""
        self._asked_on_stream = False

    @property
    def update_pending(self) -> bool:
        """There is something to ask."""
        if self._added or self._removed:
            return True
        return not self._asked_on_stream and (bool(self._requested) or self._initial_wildcard)

    def next_request(self, ack: Ack | None) -> Any:
        """The request that is due, with the answer to a response in it, if there is one to give."""
        request = message_class(f"{DISCOVERY}.DeltaDiscoveryRequest")(type_url=TYPE_URL + self.resource_type)
        if not self._asked_on_stream:
            self._asked_on_stream = True
            legacy_wildcard = self._initial_wildcard and not self._requested
            versions = request.initial_resource_versions
            for name, version in self._requested.items():
                if version is not None:
                    versions[name] = version
                self._added[name] = None
            for name, known in (*self._wildcard.items(), *self._ambiguous.items()):
                versions[name] = known
            if legacy_wildcard:
                self._added.clear()
            self._removed.clear()
        request.resource_names_subscribe.extend(self._added)
        request.resource_names_unsubscribe.extend(self._removed)
        self._added.clear()
        self._removed.clear()
        if ack is not None:
            request.response_nonce = ack.nonce
            if ack.error:
                request.error_detail.code = INTERNAL
                request.error_detail.message = ack.error
        return request

    # -- responses

    def handle_response(self, response: Any) -> Ack:
        """Take it, or not; what is to be answered."""
        ack = Ack(response.nonce, self.resource_type)
        try:
            self._take(response)
        except ConfigError as error:
            log.warning(f"delta config for {TYPE_URL}{self.resource_type} rejected: {error.problem}")
            ack.error = truncated(error.problem) or "rejected"
            for watch in tuple(self.watches):
                watch.callbacks.on_update_rejected(error.problem)
        return ack

    def on_establishment_failure(self) -> None:
        for watch in tuple(self.watches):
            watch.callbacks.on_connection_failure()

    def _take(self, response: Any) -> None:
        seen: set[str] = set()
        added: list[DecodedResource] = []
        for index, wrapped in enumerate(response.resources):
            if wrapped.name in seen:
                raise ConfigError(f"duplicate name {wrapped.name} found among added/updated resources")
            seen.add(wrapped.name)
            if not wrapped.HasField("resource") and (wrapped.aliases or self._version(wrapped.name) == wrapped.version):
                continue  # it only tells that what is there goes on
            if wrapped.resource.type_url != response.type_url:
                raise ConfigError(
                    f"type URL {wrapped.resource.type_url} embedded in an individual Any does not match the "
                    f"message-wide type URL {response.type_url} in DeltaDiscoveryResponse {shown_response(response)}"
                )
            try:
                added.append(decode_wrapped(wrapped, self.resource_type, f"resources[{index}]"))
            except ConfigError as error:
                raise rejected(error, wrapped.resource) from None
        for name in response.removed_resources:
            if name in seen:
                raise ConfigError(f"duplicate name {name} found in the union of added+removed resources")
            seen.add(name)
        for wrapped in response.resources:
            self._note(wrapped)
        self._deliver(added, list(response.removed_resources), response.system_version_info)
        for name in response.removed_resources:
            self._forget(name)
        log.debug(
            f"Delta config for {TYPE_URL}{self.resource_type} accepted with {len(response.resources)} resources added, "
            f"{len(response.removed_resources)} removed"
        )

    def _deliver(self, added: Sequence[DecodedResource], removed: Sequence[str], version: str) -> None:
        for watch in tuple(self.watches):
            if watch not in self.watches:
                continue  # what came before has made it superfluous
            mine = [each for each in added if watch.takes(each.name)]
            gone = [name for name in removed if watch.takes(name)]
            if mine or gone or not watch.names:
                watch.callbacks.on_delta_config_update(mine, gone, version)

    def _version(self, name: str) -> str | None:
        if name in self._requested:
            return self._requested[name]
        return self._wildcard.get(name)

    def _note(self, wrapped: Any) -> None:
        name = wrapped.name
        if wrapped.HasField("ttl"):
            self._ttl.add(name, wrapped.ttl.ToMilliseconds() / 1000)
        else:
            self._ttl.clear(name)
        if name in self._requested:
            self._requested[name] = wrapped.version
        elif any(not each.names or WILDCARD in each.names for each in self.watches):
            # What nobody wants is not kept: a server could send as much of it as it likes.
            self._wildcard[name] = wrapped.version
            self._ambiguous.pop(name, None)

    def _forget(self, name: str) -> bool:
        """It is gone: there is no version of it to tell. Whether it was known."""
        if name in self._requested:
            self._requested[name] = None
            return True
        wildcard, ambiguous = self._wildcard.pop(name, None), self._ambiguous.pop(name, None)
        return wildcard is not None or ambiguous is not None

    def _on_expired(self, names: Sequence[str]) -> None:
        gone = [name for name in names if self._forget(name)]
        try:
            self._deliver((), gone, "")
        except ConfigError as error:
            log.warning(f"resources of {TYPE_URL}{self.resource_type} that are over stay: {error.problem}")
