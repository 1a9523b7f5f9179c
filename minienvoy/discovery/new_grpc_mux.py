"""The incremental protocol: subscriptions of several types share one stream, and only changes are told.

Envoy: `Config::NewGrpcMuxImpl`, `Config::PausableAckQueue`; xDS protocol, "Incremental xDS".

Responses are answered before anything new is asked. While a type is paused, neither happens for it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from .. import logger
from .delta_subscription_state import Ack, DeltaSubscriptionState, DeltaWatch
from .grpc_mux import DISCOVERY, LARGEST_QUEUE, TYPE_URL, Watch, WatchCallbacks, parsed

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from .grpc_stream import GrpcStream

log = logger.get("config")


class DeltaGrpcMux:
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
        self._states: dict[str, DeltaSubscriptionState] = {}
        self._acks: deque[Ack] = deque()
        self._pauses: Counter[str] = Counter()
        self._node_in_first_message_only = node_in_first_message_only
        self._first_request = True
        self._stream = make_stream(self)
        self._stopped = False

    # -- subscriptions

    def start(self) -> None:
        self._stream.establish()

    def stop(self) -> None:
        self._stopped = True
        self._stream.stop()
        for state in self._states.values():
            state.stop()

    def add_watch(self, resource_type: str, resources: Collection[str], callbacks: WatchCallbacks) -> Watch:
        state = self._states.get(resource_type)
        if state is None:
            state = self._states[resource_type] = DeltaSubscriptionState(resource_type, self._dispatcher)
        watch = DeltaWatch(callbacks)
        state.watches.append(watch)
        handle = _Handle(self, state, watch)
        handle.update(resources)
        return handle

    def pause(self, resource_types: Iterable[str]) -> Callable[[], None]:
        types = tuple(resource_types)
        self._pauses.update(types)

        def resume() -> None:
            for each in types:
                self._pauses[each] -= 1
                if not self._pauses[each]:
                    self.on_writeable()

        return resume

    # -- requests

    def on_writeable(self) -> None:
        """Send what there is to send, and may be sent."""
        while not self._stopped:
            ack = next((each for each in self._acks if not self._pauses[each.resource_type]), None)
            if ack is not None:
                state = self._states[ack.resource_type]
            else:
                wanting = (
                    each
                    for each in self._states.values()
                    if each.update_pending and not self._pauses[each.resource_type]
                )
                found = next(wanting, None)
                if found is None:
                    break
                state = found
            if not self._stream.available or not self._stream.may_send():
                break
            if ack is not None:
                self._acks.remove(ack)
            request = state.next_request(ack)
            if self._first_request or not self._node_in_first_message_only:
                request.node.CopyFrom(self._node)
            self._first_request = False
            self._stream.send(request)
        self._stream.count_pending(len(self._acks))

    # -- from the stream

    def on_stream_established(self) -> None:
        for state in self._states.values():
            state.on_fresh_stream()
        self._first_request = True
        self._acks.clear()
        self.on_writeable()

    def on_establishment_failure(self) -> None:
        for state in tuple(self._states.values()):
            state.on_establishment_failure()

    def on_discovery_response(self, data: bytes) -> None:
        response = parsed(data, f"{DISCOVERY}.DeltaDiscoveryResponse")
        url: str = response.type_url
        log.debug(f"Received DeltaDiscoveryResponse for {url} at version {response.system_version_info}")
        state = self._states.get(url.removeprefix(TYPE_URL))
        if state is None:
            log.warning(
                f"Dropping received DeltaDiscoveryResponse (with version {response.system_version_info}) for "
                f"non-existent subscription {url}."
            )
            return
        if response.HasField("control_plane"):
            self._stream.identifier.set(response.control_plane.identifier)
        ack = state.handle_response(response)
        if len(self._acks) >= LARGEST_QUEUE:
            self._acks.popleft()  # a server that sends this much without hearing an answer counts on none
        self._acks.append(ack)
        self.on_writeable()


class _Handle:
    """What a subscription holds on to."""

    def __init__(self, mux: DeltaGrpcMux, state: DeltaSubscriptionState, watch: DeltaWatch) -> None:
        self._mux = mux
        self._state = state
        self._watch = watch

    def update(self, resources: Collection[str]) -> None:
        self._state.update_watch(self._watch, resources)
        if self._state.update_pending:
            self._mux.on_writeable()

    def remove(self) -> None:
        self._state.remove_watch(self._watch)
        if self._state.update_pending:
            self._mux.on_writeable()
