"""What happens to hosts, and when.

No Envoy counterpart. An event is a line such as `40 down 10.0.0.2:80`: seconds from the start, what, to which host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConfigError
from ..network.address import Address
from ..upstream.cluster import Cluster
from ..upstream.host import HealthFlag, Host

FLAGS: Final[Mapping[str, int]] = {
    "down": HealthFlag.FAILED_ACTIVE_HC,
    "eject": HealthFlag.FAILED_OUTLIER_CHECK,
    "unhealthy": HealthFlag.FAILED_EDS_HEALTH,
    "draining": HealthFlag.EDS_STATUS_DRAINING,
    "degraded": HealthFlag.DEGRADED_EDS_HEALTH,
}
"""What makes a host less than healthy; `up` takes all of it away."""
KINDS: Final = (*FLAGS, "up", "add", "remove", "weight")
_MORE_WORDS: Final = {"weight": (1, 1), "add": (0, 2)}
"""Kind to the least and the most words after the host; the others have none."""
_SYNTAX: Final = {"weight": "SECONDS weight HOST WEIGHT", "add": "SECONDS add HOST [WEIGHT [PRIORITY]]"}


@dataclass(frozen=True, slots=True)
class Event:
    """`weight` is for `weight` and `add`, `priority` for `add`."""

    at: float
    kind: str
    host: str
    weight: int = 1
    priority: int = 0

    def __str__(self) -> str:
        more = f" {self.weight}" if self.kind == "weight" or (self.kind == "add" and self.weight != 1) else ""
        return f"{self.host} {self.kind}{more}"


MOST_NAMED: Final = 20
"""Hosts that a message lists."""


def closest(word: str, words: Sequence[str]) -> str:
    """Which of `words` may have been meant; empty if none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, words, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""


def parse_event(line: str) -> Event:
    """`SECONDS KIND HOST [WEIGHT [PRIORITY]]`.

    Raises:
        ConfigError: it is no such line.
    """
    words = line.split()
    if not 3 <= len(words) <= 5:
        raise ConfigError(f"'{line}' is no event", remedy="say SECONDS KIND HOST [WEIGHT [PRIORITY]]")
    if words[1] not in KINDS:
        raise ConfigError(
            f"'{line}': nothing is called '{words[1]}'",
            remedy=closest(words[1], KINDS) or f"one of {', '.join(KINDS)}",
        )
    least, most = _MORE_WORDS.get(words[1], (0, 0))
    if not least <= len(words) - 3 <= most:
        raise ConfigError(f"'{line}' is no event", remedy=f"say {_SYNTAX.get(words[1], f'SECONDS {words[1]} HOST')}")
    try:
        at = float(words[0].removesuffix("s"))
        weight = int(words[3]) if len(words) > 3 else 1
        priority = int(words[4]) if len(words) > 4 else 0
    except ValueError:
        raise ConfigError(f"'{line}': that is no number") from None
    if not (0.0 <= at < float("inf")) or not 1 <= weight < 2**32 or not 0 <= priority <= 128:
        raise ConfigError(f"'{line}': a number is out of range")
    return Event(at, words[1], words[2], weight, priority)


def apply(event: Event, cluster: Cluster, now: float) -> None:
    """Let it happen.

    Raises:
        ConfigError: there is no such host, or there is one already.
    """
    hosts = cluster.hosts()
    found = [host for host in hosts if event.host in (host.address.text, host.hostname)]
    if event.kind == "add":
        if found:
            raise ConfigError(f"{event}: it is there already")
        _set_hosts(cluster, event.priority, lambda each: (*each, _new_host(event, each)))
        return
    if not found:
        names = [host.hostname or host.address.text for host in hosts]
        raise ConfigError(
            f"{event}: there is no such host",
            remedy=closest(event.host, names) or f"hosts are {', '.join(names[:MOST_NAMED])}",
        )
    for host in found:
        if event.kind == "remove":
            _set_hosts(cluster, host.priority, lambda each, gone=host: tuple(o for o in each if o is not gone))  # type: ignore[misc]
            continue
        if event.kind == "weight":
            host.weight = event.weight
        elif event.kind == "up":
            host.health_flags = 0
            host.last_hc_pass_time = now
        else:
            host.health_flags |= FLAGS[event.kind]
        cluster.priority_set.refresh_health(host.priority)


def _new_host(event: Event, others: tuple[Host, ...]) -> Host:
    name, _, port = event.host.rpartition(":")
    try:
        address = Address.ip(name.strip("[]"), int(port))
    except ValueError:
        raise ConfigError(f"{event}: '{event.host}' is not an address with a port") from None
    like = {"locality": others[0].locality, "metadata": others[0].metadata} if others else {}
    return Host(address, weight=event.weight, priority=event.priority, **like)  # type: ignore[arg-type]


def _set_hosts(cluster: Cluster, priority: int, change: Callable[[tuple[Host, ...]], tuple[Host, ...]]) -> None:
    sets = cluster.priority_set.host_sets
    old = sets[priority].hosts if priority < len(sets) else ()
    cluster.priority_set.update_hosts(cluster.load_assignment.host_set(priority, change(old)))


def event_from_mapping(value: Any) -> Event:
    """From a file of events: `{at: 40, what: down, host: "10.0.0.2:80"}`, or a line of text."""
    if isinstance(value, str):
        return parse_event(value)
    if not isinstance(value, dict) or not {"at", "what", "host"} <= value.keys():
        raise ConfigError(f"'{value}' is no event", remedy="say at, what and host")
    words = [value["at"], value["what"], value["host"]]
    words += [value[name] for name in ("weight", "priority") if name in value]
    return parse_event(" ".join(map(str, words)))
