"""What a cluster says of its pods: the `value` of its TypedStruct, compiled.

No Envoy counterpart. The fields are described in `docs/kubernetes.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from ...errors import ConfigError
from ...record import record
from .objects import ObjectKey
from .value_fields import NAME, Fields, shown

FAMILIES: Final = ("auto", "v4", "v6", "all")
NOT_READY: Final = ("drop", "unhealthy")
DISTRIBUTIONS: Final = ("service", "ignore", "PreferSameZone", "PreferSameNode", "PreferClose")
ON_OR_OFF: Final = ("service", "ignore")
HINTS: Final = ("honour", "ignore")
SUB_ZONES: Final = ("node", "none")


@record
class ApiSource:
    """Which API server: that of the pod this runs in (both empty, inside a cluster) or of a kubeconfig."""

    kubeconfig: str = ""
    context: str = ""


@record
class ServiceRef:
    """All endpoints of a Service. `namespace` may be empty: that of this pod, or of the kubeconfig's context."""

    key: ObjectKey
    port: str | int

    def __str__(self) -> str:
        return f"service {self.key}"


@record
class SlicesRef:
    """The endpoints of all EndpointSlices that a label selector finds."""

    namespace: str
    label_selector: str
    port: str | int

    def __str__(self) -> str:
        return f"endpoint slices of {self.namespace} with {self.label_selector}"


@record
class PodsRef:
    """Pods that a label selector finds, without a Service. No namespace at all means every one."""

    namespaces: tuple[str, ...]
    label_selector: str
    port: str | int

    def __str__(self) -> str:
        return f"pods of {', '.join(self.namespaces) or 'all namespaces'} with {self.label_selector}"


Ref = ServiceRef | SlicesRef | PodsRef


@record
class AddressRewrite:
    """Endpoints in `network` are reached at `host`; its port, too, unless that is 0."""

    network: IPv4Network | IPv6Network
    host: str
    port: int


@record
class KubernetesSettings:
    """Attributes:
    family: `auto` is the first family of the Service.
    include_not_ready: whether endpoints that are not ready are hosts that are unhealthy, or none.
    traffic_distribution: `service` for what the Service says.
    region, zone, node: where this proxy is; empty where it is not told.
    weight_annotation: of pods; empty if none is looked at.
    pod_labels: labels that become metadata under `envoy.lb`.
    client_ip_affinity: a Service's `sessionAffinity: ClientIP` is obeyed.
    initial_fetch_timeout: seconds until the cluster is used although nothing is known; 0 waits for ever.
    """

    refs: tuple[Ref, ...]
    source: ApiSource
    family: str = "auto"
    include_not_ready: str = "drop"
    traffic_distribution: str = "service"
    internal_traffic_policy: str = "service"
    hints: str = "honour"
    app_protocol: str = "service"
    region: str = ""
    zone: str = ""
    node: str = ""
    sub_zone: str = "node"
    weight_annotation: str = ""
    pod_labels: tuple[str, ...] = ()
    client_ip_affinity: bool = False
    address_rewrite: tuple[AddressRewrite, ...] = ()
    initial_fetch_timeout: float = 15.0

    @property
    def watches_pods(self) -> bool:
        """Pods are looked at for what slices do not tell of them."""
        return bool(self.weight_annotation or self.pod_labels)

    def watches_service(self, ref: Ref) -> bool:
        """The Service itself is looked at, and not only its slices."""
        return isinstance(ref, ServiceRef) and bool(
            isinstance(ref.port, int)
            or self.family in ("auto", "all")
            or self.client_ip_affinity
            or "service" in (self.traffic_distribution, self.internal_traffic_policy)
        )


def from_values(values: Mapping[str, Any], path: str) -> KubernetesSettings:
    """From the `value` of the TypedStruct at `path`.

    Raises:
        ConfigError: at the field that is wrong.
    """
    fields = Fields(values, path)
    refs = _refs(fields, path)
    return _with_refs(fields, refs, fields.seconds("initial_fetch_timeout", 15.0))


def from_source(
    values: Mapping[str, Any], path: str, resource: str, resource_path: str, initial_fetch_timeout: float
) -> KubernetesSettings:
    """For an EDS source: the settings without what is looked for, which the name of the resource tells: `ns/name:port`.

    Raises:
        ConfigError: at the field that is wrong.
    """
    ref = resource_ref(resource, resource_path)
    return _with_refs(Fields(values, path), (ref,), initial_fetch_timeout)


def resource_ref(resource: str, path: str) -> ServiceRef:
    """`ns/name:port` or `name:port`, `port` a name or a number."""
    service, colon, port = resource.rpartition(":")
    if not colon:
        raise ConfigError(f"'{resource}' does not name a Service and its port", path, remedy="say namespace/name:port")
    return ServiceRef(_service_key(service, "", path), Fields({"port": port}, path).port("port"))


def _with_refs(fields: Fields, refs: tuple[Ref, ...], initial_fetch_timeout: float) -> KubernetesSettings:
    settings = KubernetesSettings(
        refs,
        ApiSource(fields.text("kubeconfig"), fields.text("context")),
        fields.choice("family", FAMILIES),
        fields.choice("include_not_ready", NOT_READY),
        fields.choice("traffic_distribution", DISTRIBUTIONS),
        fields.choice("internal_traffic_policy", ON_OR_OFF),
        fields.choice("hints", HINTS),
        fields.choice("app_protocol", ON_OR_OFF),
        fields.text("region"),
        fields.text("zone"),
        fields.text("node"),
        fields.choice("sub_zone", SUB_ZONES),
        fields.text("weight_annotation"),
        fields.texts("pod_labels"),
        fields.flag("client_ip_affinity"),
        _address_rewrite(fields),
        initial_fetch_timeout,
    )
    fields.done()
    return settings


def _refs(fields: Fields, path: str) -> tuple[Ref, ...]:
    namespace = fields.name("namespace")
    service = fields.text("service")
    services = fields.take("services")
    slices, pods = fields.below("endpoint_slices"), fields.below("pods")
    given = [bool(service), services is not None, slices is not None, pods is not None]
    if sum(given) != 1:
        raise ConfigError("exactly one of service, services, endpoint_slices and pods is needed", path)
    if (slices is not None or pods is not None) and fields.take("port") is not None:
        raise ConfigError("the port belongs to what has it", fields.at("port"), remedy="say it beside label_selector")
    if slices is not None:
        own = slices.name("namespace") or namespace
        ref = SlicesRef(own, _selector(slices), slices.port("port"))
        slices.done()
        return (ref,)
    if pods is not None:
        return (_pods_ref(pods, namespace),)
    if service:
        return (ServiceRef(_service_key(service, namespace, fields.at("service")), fields.port("port")),)
    where = fields.at("services")
    if not isinstance(services, list) or not services:
        raise ConfigError(f"a list of services is expected, not {shown(services)}", where)
    shared = fields.port("port") if fields.take("port") is not None else None
    return tuple(_one_of(each, namespace, shared, f"{where}[{at}]") for at, each in enumerate(services))


def _one_of(item: Any, namespace: str, port: str | int | None, path: str) -> ServiceRef:
    if isinstance(item, str):
        item = {"service": item}
    if not isinstance(item, dict):
        raise ConfigError(f"a service is expected, not {shown(item)}", path)
    fields = Fields(item, path)
    service = fields.text("service")
    key = _service_key(service, fields.name("namespace") or namespace, fields.at("service"))
    own = fields.take("port")
    chosen = port if own is None and port is not None else fields.port("port")
    fields.done()
    return ServiceRef(key, chosen)


def _pods_ref(fields: Fields, namespace: str) -> PodsRef:
    own, several = fields.name("namespace") or namespace, fields.texts("namespaces")
    for each in several:
        if each != "*" and not NAME.fullmatch(each):
            raise ConfigError(f"'{each}' can not be the name of a namespace", fields.at("namespaces"))
    namespaces = () if "*" in several else several or (own,)
    ref = PodsRef(namespaces, _selector(fields), fields.port("port"))
    fields.done()
    return ref


def _selector(fields: Fields) -> str:
    value = fields.take("label_selector")
    where = fields.at("label_selector")
    if isinstance(value, dict) and value and all(isinstance(each, str) for each in value.values()):
        return ",".join(f"{name}={text}" for name, text in value.items())
    if not isinstance(value, str) or not value.strip():
        raise ConfigError("a label selector is needed, such as app=web,tier!=test", where)
    return value


def _service_key(text: str, namespace: str, path: str) -> ObjectKey:
    own, slash, name = text.rpartition("/")
    for each in (own, name) if slash else (name,):
        if not NAME.fullmatch(each):
            raise ConfigError(f"'{text}' is not namespace/name of a Service", path)
    return ObjectKey(own or namespace, name)


def _address_rewrite(fields: Fields) -> tuple[AddressRewrite, ...]:
    value = fields.take("address_rewrite")
    where = fields.at("address_rewrite")
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise ConfigError(f"networks and their hosts are expected, not {shown(value)}", where)
    made = []
    for network, target in value.items():
        try:
            parsed = ip_network(network)
        except ValueError:
            raise ConfigError(f"'{network}' is neither an address nor a network such as 10.0.0.0/8", where) from None
        if not isinstance(target, str) or not target:
            raise ConfigError(f"a host is expected for {network}, not {shown(target)}", where)
        made.append(_rewrite(parsed, target, where))
    # The narrowest network is asked first.
    return tuple(sorted(made, key=lambda each: -each.network.prefixlen))


def _rewrite(network: IPv4Network | IPv6Network, target: str, path: str) -> AddressRewrite:
    """To `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`."""
    host, port = target, "0"
    if target.startswith("[") or target.count(":") == 1:
        host, _, port = target.rpartition(":")
    try:
        address = ip_address(host.strip("[]"))
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        number = -1
    if not 0 <= number < 65536:
        raise ConfigError(f"'{target}' is no IP address, nor one with a port", path)
    return AddressRewrite(network, str(address), number)
