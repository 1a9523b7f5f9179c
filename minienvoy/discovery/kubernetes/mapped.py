"""What comes of an endpoint: a host, or the reason why it is none.

No Envoy counterpart; the nearest is `envoy.config.endpoint.v3.LbEndpoint`. These are the types that `mapping` makes
and that clusters, the admin interface and whoever serves EDS take.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Final, NamedTuple

from ...record import record
from .objects import ObjectKey

FQDN: Final = "FQDN"
"""The family of an endpoint that is a name, which DNS is to be asked for."""


class Health(Enum):
    """What Kubernetes says of an endpoint.

    A draining one is on its way out and still serves: it takes no new requests unless nothing else is there.
    """

    HEALTHY = "healthy"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"


HostKey = tuple[str, int]
"""(address, port)"""


class MappedEndpoint(NamedTuple):
    """Attributes:
    address: an IP address, or a DNS name if `family` is `FQDN`; as it is reached, after `address_rewrite`.
    port: 0 if it is not known.
    excluded: why it is no host; empty if it is one.
    condition: what the slice or the pod says, e.g. `ready` or `terminating, serving`.
    priority: 0 for the nearest.
    hostname: of the pod of a headless Service, e.g. `db-0.db`; empty for most.
    pod: its key; empty if it is none.
    source: the slice or the pod that told of it.
    version: of the source (`resourceVersion`), as a number where it is one.
    additional: further addresses of the same pod.
    """

    address: str
    port: int
    family: str
    health: Health
    excluded: str
    condition: str
    priority: int
    weight: int
    zone: str
    node: str
    hostname: str
    pod: ObjectKey
    uid: str
    service: ObjectKey
    source: ObjectKey
    version: int
    app_protocol: str
    labels: tuple[tuple[str, str], ...] = ()
    additional: tuple[str, ...] = ()

    def metadata(self) -> dict[str, dict[str, str]]:
        """For subsets: who the host is, under `envoy.lb`."""
        own = {
            "namespace": self.pod.namespace or self.service.namespace,
            "node": self.node,
            "pod": self.pod.name,
            "service": self.service.name,
            "uid": self.uid,
        }
        return {"envoy.lb": {**dict(self.labels), **{name: text for name, text in own.items() if text}}}


@record
class Assignment:
    """What a cluster has now.

    Attributes:
        hosts: those that are used, in a steady order.
        excluded: the others, each with its reason.
        notes: what concerns the cluster as a whole: a Service that is not there, a policy that can not be obeyed.
        app_protocol: what the port speaks, e.g. `kubernetes.io/h2c`; empty if nobody says.
        client_ip_affinity: a Service asks for the same host for the same client.
        serial: counts the assignments of a cluster.
        changed: the keys of `hosts` that are not as in the assignment before, in a steady order; None if all may be
            others.
    """

    hosts: Mapping[HostKey, MappedEndpoint]
    excluded: tuple[MappedEndpoint, ...] = ()
    notes: tuple[str, ...] = ()
    app_protocol: str = ""
    client_ip_affinity: bool = False
    serial: int = 0
    changed: Collection[HostKey] | None = None
