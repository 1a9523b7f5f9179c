"""A balancer that chooses by a hash, from a structure that is built when hosts change.

Envoy: `Upstream::ThreadAwareLoadBalancerBase`, `BoundedLoadHashingLoadBalancer`,
`envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig`; docs "Ring hash", "Maglev".

The hash decides about the priority, then about the host. A structure is built anew only if hosts or weights in it have
changed. In Envoy that is the work of the main thread, and workers balance by the old one until it is done. Here it is
done in pieces if there are many hosts, and the old one serves meanwhile, but for hosts that must not be chosen any more
(`OldStructure`).
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..config.fields import honours
from ..errors import ConfigError
from ..event.random import mersenne_twister
from ..explain.explanation import NO_EXPLANATION
from ..record import record
from .host import Host, HostSet
from .hosts_per_locality import HostsPerLocality
from .load_balancer_base import LoadBalancerBase, excluded_from
from .old_structure import HashingLoadBalancer, OldStructure, Unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .load_assignment import LoadAssignment
    from .load_balancer import LoadBalancer, LoadBalancerContext, LoadBalancerFactory, LoadBalancerParams

    GenerateHash = Callable[[LoadBalancerContext], "int | None"]

_COMMON: Final = "envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig"
honours(_COMMON, "use_hostname_for_hashing", "hash_balance_factor", "hash_policy")
MAX_WEIGHT: Final = 2**32 - 1
IN_PIECES_FROM: Final = 256
"""Hosts of a priority; with fewer a structure is built at once."""


class NormalizedWeights(NamedTuple):
    """Hosts, and the weight of each; their sum is 1. No pairs: of ten thousand the garbage collector would hear."""

    hosts: Sequence[Host]
    weights: list[float]


@record
class HashingLbConfig:
    """What ring hash and Maglev have in common.

    Attributes:
        use_hostname: hash hosts by their names, not by their addresses.
        balance_factor: percent of the average load that a host takes at most; 0 is no limit.
        locality_weighted: weights of localities count.
        generate_hash: the policy's own hash policy; None for the route's.
    """

    use_hostname: bool = False
    balance_factor: int = 0
    locality_weighted: bool = False
    generate_hash: GenerateHash | None = None

    @classmethod
    def from_proto(cls, config: Any, generate_hash: GenerateHash | None) -> HashingLbConfig:
        """From a `RingHash` or a `Maglev`."""
        common = config.consistent_hashing_lb_config
        old = not config.HasField("consistent_hashing_lb_config") and hasattr(config, "use_hostname_for_hashing")
        source = config if old else common
        return cls(
            source.use_hostname_for_hashing,
            source.hash_balance_factor.value,
            config.HasField("locality_weighted_lb_config"),
            generate_hash,
        )


def hash_key(host: Host, use_hostname: bool) -> bytes:
    """What a host is hashed by: `hash_key` of its metadata, its name or its address (`hashKey`)."""
    key = host.metadata.get("envoy.lb", {}).get("hash_key")
    if isinstance(key, str) and key:
        return key.encode()
    return (host.hostname if use_hostname else host.address.text).encode()


class ThreadAwareLoadBalancerBase(LoadBalancerBase):
    """Policies override `build`."""

    __slots__ = ("_again", "_built", "_latest", "_structures", "_work", "config")

    def __init__(self, params: LoadBalancerParams, config: HashingLbConfig) -> None:
        super().__init__(params)
        self.config = config
        self._built: list[NormalizedWeights | None] = []
        self._latest: list[HashingLoadBalancer | None] = []
        """What was built of these."""
        self._structures: list[HashingLoadBalancer | None] = []
        """What serves: of each priority the latest, or while that is old something that knows it."""
        self._work: Generator[None] | None = None
        self._again = False
        self._rebuild()

    def build(
        self, weights: NormalizedWeights, smallest: float, largest: float
    ) -> Generator[None, None, HashingLoadBalancer | None]:
        """The structure over hosts whose smallest and largest weights are told, of which there is one at least.

        Yields where others may have their turn: after a few milliseconds at most.
        """
        raise NotImplementedError

    def on_update(
        self,
        host_set: HostSet,
        added: tuple[Host, ...],
        removed: tuple[Host, ...],
        altered: Sequence[Host] | None,
    ) -> None:
        self._rebuild()

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        hash_ = None
        if context is not None:
            generate = self.config.generate_hash
            hash_ = context.compute_hash_key() if generate is None else generate(context)
        key = self.random.getrandbits(64) if hash_ is None else hash_
        load = self.load
        priority = 0 if load.healthy[0] == 100 else self.choose_priority(key, load)[0]
        if load.panic[priority]:
            self.stats.lb_healthy_panic += 1
        structure = self._structures[priority]
        host = None if structure is None else structure.choose_host(key, 0)
        if context is None or host is None:
            if context is not None and context.explain is not NO_EXPLANATION:
                excluded = excluded_from(self.priority_set.host_sets[priority], ())
                if excluded:
                    context.explain.decided("priority", priority, "no healthy hosts", excluded)
            return host
        rejected: tuple[Host, ...] = ()
        for attempt in range(1, context.host_selection_retries + 1):
            if host is None or not context.should_select_another_host(host):
                break
            rejected += (host,)
            assert structure is not None
            host = structure.choose_host(key, attempt)
        if context.explain is not NO_EXPLANATION and host is not None:
            self._explain(context, host, rejected, priority, hash_)
        return host

    # -- inside

    def _explain(
        self, context: LoadBalancerContext, host: Host, rejected: tuple[Host, ...], priority: int, hash_: int | None
    ) -> None:
        host_set = self.priority_set.host_sets[priority]
        panic = self.load.panic[priority]
        if priority or panic:
            context.explain.decided("priority", priority, "panic" if panic else "healthy hosts")
        candidates = host_set.hosts if panic else host_set.healthy_hosts
        how = "a random number: there is no hash" if hash_ is None else f"hash {hash_:016x}"
        context.explain.decided(
            "host",
            host,
            f"{self.policy} over {len(candidates)} of {len(host_set.hosts)} hosts by {how}",
            rejected + excluded_from(host_set, candidates),
        )

    def stop(self) -> None:
        self._work = None

    def finish(self) -> None:
        """Build what is being built, now."""
        for _ in self._work or ():
            pass
        self._work = None

    def _rebuild(self) -> None:
        host_sets = self.priority_set.host_sets
        for each in (self._built, self._latest, self._structures):
            each.extend([None] * (len(host_sets) - len(each)))
        self._again = True
        dispatcher = self.params.dispatcher
        if dispatcher is None or all(len(each.hosts) < IN_PIECES_FROM for each in host_sets):
            self._work = self._steps()
            self.finish()
            return
        for priority in range(len(host_sets)):
            self._structures[priority] = self._for_now(priority)
        # What is being built is built to its end, although it is old, too: else many changes would keep it from ending.
        if self._work is None:
            self._work = self._steps()
            dispatcher.post(self._go_on)

    def _for_now(self, priority: int) -> HashingLoadBalancer:
        latest = self._latest[priority]
        if latest is None:
            return Unfinished(self, self._latest, priority)
        return OldStructure(latest, self._candidates(priority))

    def _candidates(self, priority: int) -> tuple[Host, ...]:
        host_set = self.priority_set.host_sets[priority]
        return host_set.hosts if self.load.panic[priority] else host_set.healthy_hosts

    def _go_on(self) -> None:
        work = self._work
        if work is None:
            return
        try:
            next(work)
        except StopIteration:
            self._work = None
        except BaseException:
            self._work = None
            raise
        else:
            dispatcher = self.params.dispatcher
            assert dispatcher is not None
            dispatcher.post(self._go_on)

    def _steps(self) -> Generator[None]:
        while self._again:
            self._again = False
            for priority, host_set in enumerate(tuple(self.priority_set.host_sets)):
                weights = self._normalized(host_set, self.load.panic[priority])
                yield
                if weights != self._built[priority]:
                    structure = (yield from self._build(weights)) if weights.hosts else None
                    self._built[priority] = weights
                    self._latest[priority] = structure
                self._structures[priority] = self._for_now(priority) if self._again else self._latest[priority]

    def _build(self, weights: NormalizedWeights) -> Generator[None, None, HashingLoadBalancer | None]:
        structure = yield from self.build(weights, min(1.0, min(weights.weights)), max(0.0, max(weights.weights)))
        if structure is None or not self.config.balance_factor:
            return structure
        return BoundedLoad(structure, weights, self.config.balance_factor, self.params)

    def _normalized(self, host_set: HostSet, panic: bool) -> NormalizedWeights:
        """The hosts that may be chosen, with weights whose sum is 1 (`normalizeWeights`)."""
        if not self.config.locality_weighted or host_set.locality_weights is None:
            return _normalized(host_set.hosts if panic else host_set.healthy_hosts, 1.0)
        localities = HostsPerLocality(host_set, self.params.local_locality)
        total = sum(localities.weights)
        found: list[Host] = []
        parts: list[float] = []
        lists = localities.all if panic else localities.healthy
        for weight, hosts in zip(localities.weights, lists, strict=True):
            if weight:
                here = _normalized(hosts, weight / total)
                found += here.hosts
                parts += here.weights
        return NormalizedWeights(found, parts)


def _normalized(hosts: tuple[Host, ...], part: float) -> NormalizedWeights:
    weights = [host.weight for host in hosts]
    total = sum(weights)
    return NormalizedWeights(hosts, [weight * part / total for weight in weights])


class BoundedLoad:
    """Goes on to other hosts where the first has more than its part of the requests under way.

    The others are tried in an order that depends on the hash alone, so the same key meets the same hosts.
    """

    __slots__ = ("_factor", "_params", "_structure", "_weight_of", "_weights")

    def __init__(
        self, structure: HashingLoadBalancer, weights: NormalizedWeights, factor: int, params: LoadBalancerParams
    ) -> None:
        self._structure = structure
        self._weights = weights
        self._weight_of = dict(zip(weights.hosts, weights.weights, strict=True))
        self._factor = factor
        self._params = params

    def choose_host(self, hash_: int, attempt: int) -> Host | None:
        host = self._structure.choose_host(hash_, attempt)
        if host is None:
            return None
        least = self._overload(host, self._weight_of[host])
        if least <= 1.0:
            return host
        best = host
        count = len(self._weights.hosts)
        order = list(range(count))
        draw = mersenne_twister(hash_).getrandbits
        for index in range(count):
            other = index + _uniform(draw, count - index)
            order[index], order[other] = order[other], order[index]
            candidate = self._weights.hosts[order[index]]
            if candidate is host:
                continue
            overload = self._overload(candidate, self._weights.weights[order[index]])
            if overload <= 1.0:
                return candidate
            if overload < least:
                best, least = candidate, overload
        return best

    def _overload(self, host: Host, weight: float) -> float:
        """Above 1 it has too much to do."""
        traffic = self._params.traffic
        active = traffic.upstream_rq_active if traffic is not None else 0
        slots = ((active + 1) * self._factor + 99) // 100
        return host.stats.rq_active / max(ceil(slots * weight), 1)


def _uniform(draw: Callable[[int], int], below: int) -> int:
    width = 2**32 // below
    while (value := draw(32) // width) >= below:
        pass
    return value


@record
class HashingLbFactory:
    """A `LoadBalancerFactory` that looks at the endpoints first (`TypedHashLbConfigBase`)."""

    create: LoadBalancerFactory

    def __call__(self, params: LoadBalancerParams) -> LoadBalancer:
        return self.create(params)

    def validate_endpoints(self, assignment: LoadAssignment, path: str) -> None:
        """Sums of weights have 32 bits.

        Raises:
            ConfigError: those of the hosts, or of the localities, of one priority do not fit.
        """
        for priority in {locality.priority for locality in assignment.localities}:
            here = [locality for locality in assignment.localities if locality.priority == priority]
            if sum(endpoint.weight for locality in here for endpoint in locality.endpoints) > MAX_WEIGHT:
                raise ConfigError(f"The sum of weights of all upstream hosts in a locality exceeds {MAX_WEIGHT}", path)
            if sum({locality.locality: locality.weight for locality in here}.values()) > MAX_WEIGHT:
                raise ConfigError(
                    f"The sum of weights of all localities at the same priority exceeds {MAX_WEIGHT}", path
                )
