"""The state-of-the-world protocol: subscriptions of several types share one stream.

Envoy: `Config::GrpcMuxImpl`; docs "xDS REST and gRPC protocol".

Every request for a type names all that is wanted of it, the version that was accepted last and the nonce of the last
response. A response that can not be used is answered with the old version and the reason. While a type is paused
nothing is asked for it; what would have been asked is asked, once, when it goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from .. import logger
from ..config.api import unpack
from ..config.schema import message_class
from ..errors import ConfigError
from .subscription import RESOURCE, DecodedResource, decode_resource, shown
from .ttl import TtlManager

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from .grpc_stream import GrpcStream

log = logger.get("config")
DISCOVERY: Final = "envoy.service.discovery.v3"
TYPE_URL: Final = "type.googleapis.com/"
LARGEST_QUEUE: Final = 1000
INTERNAL: Final = 13
_LONGEST_MESSAGE: Final = 4096


class WatchCallbacks(Protocol):
    """A subscription, as the protocol sees it."""

    def on_config_update(self, resources: Sequence[DecodedResource], version: str) -> None: ...
    def on_delta_config_update(
        self, added: Sequence[DecodedResource], removed: Sequence[str], version: str
    ) -> None: ...
    def on_connection_failure(self) -> None: ...
    def on_update_rejected(self, reason: str) -> None: ...


class Watch(Protocol):
    """What a subscription holds on to (`Config::GrpcMuxWatch`)."""

    def update(self, resources: Collection[str]) -> None: ...
    def remove(self) -> None: ...


class GrpcMux(Protocol):
    """Both protocols, as subscriptions see them (`Config::GrpcMux`)."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def add_watch(self, resource_type: str, resources: Collection[str], callbacks: WatchCallbacks) -> Watch: ...
    def pause(self, resource_types: Iterable[str]) -> Callable[[], None]:
        """Until what is returned is called, nothing is asked for these types."""


def truncated(message: str) -> str:
    """As long as it may be in a status (`Config::Utility::truncateGrpcStatusMessage`)."""
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= _LONGEST_MESSAGE:
        return encoded.decode("utf-8", "replace")
    return encoded[:_LONGEST_MESSAGE].decode("utf-8", "ignore") + "...(truncated)"


class _ApiState:
    """What is known of one type."""

    def __init__(self, resource_type: str, dispatcher: Dispatcher) -> None:
        self.resource_type = resource_type
        self.watches: list[SotwWatch] = []
        self.request = message_class(f"{DISCOVERY}.DiscoveryRequest")(type_url=TYPE_URL + resource_type)
        self.subscribed = False
        self.pauses = 0
        self.pending = False
        self.ttl = TtlManager(dispatcher, self._on_expired)

    def _on_expired(self, names: Sequence[str]) -> None:
        for watch in tuple(self.watches):
            try:
                watch.callbacks.on_delta_config_update((), names, "")
            except ConfigError as error:
                log.warning(f"resources of {self.request.type_url} that are over stay: {error.problem}")


class SotwWatch:
    """A subscription to resources of one type; `names` is empty for all of them."""

    def __init__(self, mux: SotwGrpcMux, state: _ApiState, names: Collection[str], callbacks: WatchCallbacks) -> None:
        self._mux = mux
        self._state = state
        self.names = frozenset(names)
        self.callbacks = callbacks
        state.watches.insert(0, self)

    def update(self, resources: Collection[str]) -> None:
        before, self.names = self.names, frozenset(resources)
        if before:
            self._mux.queue_request(self._state)
        self._mux.queue_request(self._state)

    def remove(self) -> None:
        if self in self._state.watches:
            self._state.watches.remove(self)
            if self.names:
                self._mux.queue_request(self._state)


class SotwGrpcMux:
    """`make_stream` is given this, and makes the stream that it speaks on."""

    def __init__(
        self,
        make_stream: Callable[[Any], GrpcStream],
        dispatcher: Dispatcher,
        node: Any,
        *,
        node_in_first_message_only: bool = False,
    ) -> None:
        self._dispatcher = dispatcher
        self._node = node
        self._node_in_first_message_only = node_in_first_message_only
        self._first_request = True
        self._states: dict[str, _ApiState] = {}
        self._subscriptions: list[_ApiState] = []
        self._queue: deque[_ApiState] = deque()
        self._stream = make_stream(self)
        self._stopped = False

    # -- subscriptions

    def start(self) -> None:
        self._stream.establish()

    def stop(self) -> None:
        self._stopped = True
        self._queue.clear()
        self._stream.stop()
        for state in self._states.values():
            state.ttl.stop()

    def add_watch(self, resource_type: str, resources: Collection[str], callbacks: WatchCallbacks) -> Watch:
        log.debug(f"gRPC mux addWatch for {TYPE_URL}{resource_type}")
        state = self._state(resource_type)
        watch = SotwWatch(self, state, resources, callbacks)
        if not state.subscribed:
            state.subscribed = True
            self._subscriptions.append(state)
        self.queue_request(state)
        return watch

    def pause(self, resource_types: Iterable[str]) -> Callable[[], None]:
        states = [self._state(each) for each in resource_types]
        for state in states:
            state.pauses += 1

        def resume() -> None:
            for state in states:
                state.pauses -= 1
                if not state.pauses and state.pending and state.subscribed:
                    state.pending = False
                    self.queue_request(state)

        return resume

    def _state(self, resource_type: str) -> _ApiState:
        state = self._states.get(resource_type)
        if state is None:
            state = self._states[resource_type] = _ApiState(resource_type, self._dispatcher)
        return state

    # -- requests

    def queue_request(self, state: _ApiState) -> None:
        if self._stopped or not self._stream.available:
            return  # a new stream asks for everything
        if state.pauses:
            state.pending = True
            return
        # What is asked is looked up when it is sent: of those that wait, one for each type is enough.
        if len(self._queue) < LARGEST_QUEUE or state not in self._queue:
            self._queue.append(state)
        self.on_writeable()

    def on_writeable(self) -> None:
        queue = self._queue
        while queue and self._stream.may_send():
            self._send(queue.popleft())
        self._stream.count_pending(len(queue))

    def _send(self, state: _ApiState) -> None:
        request = state.request
        del request.resource_names[:]
        request.resource_names.extend(dict.fromkeys(name for watch in state.watches for name in sorted(watch.names)))
        if self._first_request or not self._node_in_first_message_only:
            request.node.CopyFrom(self._node)
        else:
            request.ClearField("node")
        self._first_request = False
        self._stream.send(request)
        request.ClearField("error_detail")

    # -- from the stream

    def on_stream_established(self) -> None:
        self._first_request = True
        self._queue.clear()
        self._stream.count_pending(0)
        for state in tuple(self._subscriptions):
            state.request.ClearField("response_nonce")  # nonces are those of one stream
            self.queue_request(state)

    def on_establishment_failure(self) -> None:
        for state in tuple(self._states.values()):
            for watch in tuple(state.watches):
                watch.callbacks.on_connection_failure()

    def on_discovery_response(self, data: bytes) -> None:
        response = parsed(data, f"{DISCOVERY}.DiscoveryResponse")
        url: str = response.type_url
        log.debug(f"Received gRPC message for {url} at version {response.version_info}")
        state = self._states.get(url.removeprefix(TYPE_URL))
        if state is None:
            log.warning(f"Ignoring the message for type URL {url} as it has no current subscribers.")
            return
        if response.HasField("control_plane"):
            self._stream.identifier.set(response.control_plane.identifier)
        request = state.request
        if not state.watches:
            request.response_nonce = response.nonce
            if response.resources:
                # Nobody wants these: the version stays, which is what a server takes for a refusal.
                log.warning(f"Ignoring unwatched type URL {url}")
                self.queue_request(state)
            else:
                request.version_info = response.version_info
            return
        # Every change of what is wanted would be asked for by itself.
        resume = self.pause((state.resource_type,))
        try:
            self._take(state, response)
        except ConfigError as error:
            for watch in tuple(state.watches):
                watch.callbacks.on_update_rejected(error.problem)
            request.error_detail.code = INTERNAL
            request.error_detail.message = truncated(error.problem)
        request.response_nonce = response.nonce
        self.queue_request(state)
        resume()

    def _take(self, state: _ApiState, response: Any) -> None:
        version: str = response.version_info
        decoded = []
        for index, packed in enumerate(response.resources):
            if packed.type_url not in (response.type_url, TYPE_URL + RESOURCE):
                raise ConfigError(
                    f"{packed.type_url} does not match the message-wide type URL {response.type_url} in "
                    f"DiscoveryResponse {shown_response(response)}"
                )
            try:
                resource = decode_resource(packed, state.resource_type, version, f"resources[{index}]")
            except ConfigError as error:
                raise rejected(error, packed) from None
            self._keep(state, resource)
            if resource.message is not None:
                decoded.append(resource)
            elif resource.version != state.request.version_info:
                raise ConfigError(f"there is no resource in {resource.name}", f"resources[{index}]")
        by_name = {each.name: each for each in decoded}
        for watch in tuple(state.watches):
            if watch not in state.watches:
                continue  # what another has made of it has replaced this one
            if not watch.names:
                watch.callbacks.on_config_update(decoded, version)
                continue
            found = [by_name[name] for name in sorted(watch.names) if name in by_name]
            if found:
                watch.callbacks.on_config_update(found, version)
        state.request.version_info = version

    @staticmethod
    def _keep(state: _ApiState, resource: DecodedResource) -> None:
        if resource.ttl:
            state.ttl.add(resource.name, resource.ttl)
        else:
            state.ttl.clear(resource.name)


def shown_response(response: Any) -> str:
    """The beginning of it as text, as much as a status has place for."""
    part = type(response)()
    part.CopyFrom(response)
    if response.ByteSize() > _LONGEST_MESSAGE:
        del part.resources[1:]
    return shown(part, _LONGEST_MESSAGE)


def rejected(error: ConfigError, packed: Any) -> ConfigError:
    """As a status tells it: with the resource, if that breaks a rule of the API."""
    if not error.problem.startswith("Proto constraint validation failed"):
        return error
    try:
        text = shown(unpack(packed), _LONGEST_MESSAGE)
    except ConfigError:
        return error
    return ConfigError(f"{text}: {error.problem}", error.path)


def parsed(data: bytes, full_name: str) -> Any:
    """Raises ValueError if it is no such message."""
    from google.protobuf.message import DecodeError

    try:
        return message_class(full_name).FromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from None
