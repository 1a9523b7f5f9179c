"""A control plane without a network: what was asked on each stream, and what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from minienvoy.config.schema import message_class
from minienvoy.discovery.grpc_mux import SotwGrpcMux
from minienvoy.discovery.grpc_stream import GrpcStream
from minienvoy.discovery.new_grpc_mux import DeltaGrpcMux
from minienvoy.discovery.subscription import DecodedResource
from minienvoy.errors import ConfigError
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.stats.store import Store
from minienvoy.upstream.backoff_strategy import FixedBackOffStrategy

CLUSTER = "envoy.config.cluster.v3.Cluster"
EDS = "envoy.config.endpoint.v3.ClusterLoadAssignment"
DISCOVERY = "envoy.service.discovery.v3"
URL = "type.googleapis.com/"


class NoLoop(asyncio.AbstractEventLoop):
    def time(self) -> float:
        return 0.0


class HttpStream:
    def __init__(self) -> None:
        self.above_watermark: Any = None


class Call:
    def __init__(self, plane: ControlPlane, callbacks: Any) -> None:
        self.callbacks = callbacks
        self.stream = HttpStream()
        self.requests: list[Any] = []
        self.reset_by_client = False
        self._plane = plane

    def send(self, message: bytes) -> None:
        name = "DeltaDiscoveryRequest" if self._plane.delta else "DiscoveryRequest"
        self.requests.append(message_class(f"{DISCOVERY}.{name}").FromString(message))

    def reset(self) -> None:
        self.reset_by_client = True

    def says(self, response: Any) -> None:
        self.callbacks.on_receive_message(response.SerializeToString())


class ControlPlane:
    """Attributes:
    calls: streams, in their order.
    down: a stream ends before it is opened.
    """

    def __init__(self, *, delta: bool = False, rate: tuple[float, float] | None = None, **options: Any) -> None:
        self.delta = delta
        self.down = False
        self.calls: list[Call] = []
        self.dispatcher = SimulatedDispatcher(NoLoop())
        self.store = Store()
        node = message_class("envoy.config.core.v3.Node")(id="me")
        self.mux: Any = (DeltaGrpcMux if delta else SotwGrpcMux)(
            lambda callbacks: GrpcStream(
                callbacks,
                lambda: self,  # type: ignore[arg-type,return-value]
                "xds",
                "a.Service/Method",
                self.dispatcher,
                FixedBackOffStrategy(1.0),
                self.store.scope(""),
                rate,
            ),
            self.dispatcher,
            node,
            **options,
        )

    def start(self, method: str, callbacks: Any) -> Call:
        call = Call(self, callbacks)
        self.calls.append(call)
        if self.down:
            callbacks.on_remote_close(14, "down")
        return call

    def asked(self, number: int = -1) -> list[str]:
        """What was asked on a stream, in a few words each."""
        return [_words(each) for each in self.calls[number].requests]

    def send(self, kind: str, version: str, nonce: str, *resources: Any, removed: Sequence[str] = ()) -> None:
        """A response: names stand for clusters or assignments, messages for themselves."""
        if self.delta:
            response = message_class(f"{DISCOVERY}.DeltaDiscoveryResponse")(
                system_version_info=version, nonce=nonce, type_url=URL + kind, removed_resources=removed
            )
        else:
            response = message_class(f"{DISCOVERY}.DiscoveryResponse")(
                version_info=version, nonce=nonce, type_url=URL + kind
            )
        for each in resources:
            message = resource(kind, each) if isinstance(each, str) else each
            if not self.delta:
                response.resources.add().Pack(message, type_url_prefix=URL)
            elif message.DESCRIPTOR.name == "Resource":
                response.resources.append(message)
            else:
                response.resources.append(wrapped(kind, message, version))
        self.calls[-1].says(response)


def resource(kind: str, name: str) -> Any:
    return message_class(kind)(**{"cluster_name" if kind == EDS else "name": name})


def wrapped(kind: str, message: Any, version: str, ttl: float = 0.0) -> Any:
    made = message_class(f"{DISCOVERY}.Resource")(version=version)
    if isinstance(message, str):
        made.name = message
    else:
        made.name = message.cluster_name if kind == EDS else message.name
        made.resource.Pack(message, type_url_prefix=URL)
    if ttl:
        made.ttl.FromMilliseconds(round(ttl * 1000))
    return made


def _words(request: Any) -> str:
    short = {CLUSTER: "CDS", EDS: "EDS"}.get(request.type_url.removeprefix(URL), request.type_url)
    words = [short]
    if "Delta" in request.DESCRIPTOR.name:
        words += [f"+{name}" for name in sorted(request.resource_names_subscribe)]
        words += [f"-{name}" for name in sorted(request.resource_names_unsubscribe)]
        words += [f"has {name}={version}" for name, version in sorted(request.initial_resource_versions.items())]
    else:
        words += [f"v{request.version_info}", *request.resource_names]
    if request.response_nonce:
        words.append(request.response_nonce)
    if request.HasField("error_detail"):
        words.append(f"refused: {request.error_detail.message}")
    return " ".join(words)


class Subscriber:
    """Who is told; `refuse` is why the next update can not be used."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refuse = ""

    def on_config_update(self, resources: Sequence[DecodedResource], version: str) -> None:
        if self.refuse:
            raise ConfigError(self.refuse)
        self.told.append(f"{version}: {' '.join(each.name for each in resources)}")

    def on_delta_config_update(self, added: Sequence[DecodedResource], removed: Sequence[str], version: str) -> None:
        if self.refuse:
            raise ConfigError(self.refuse)
        words = [*(f"+{each.name}@{each.version}" for each in added), *(f"-{name}" for name in removed)]
        self.told.append(f"{version}: {' '.join(words)}")

    def on_connection_failure(self) -> None:
        self.told.append("no connection")

    def on_update_rejected(self, reason: str) -> None:
        self.told.append(f"rejected: {reason}")
