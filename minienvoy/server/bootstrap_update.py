"""From one bootstrap to another while the server runs: what CDS and LDS do, for who has a file and no control plane.

No Envoy counterpart: Envoy's bootstrap stays as it is, and only what a control plane has sent changes. Clusters come
first and warm up; when all of them are in use listeners change, and what is not wanted any more goes last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..event.dispatcher import Dispatcher
from ..record import replace
from .server import Server

if TYPE_CHECKING:
    from ..config.loader import LoadedConfig


async def check_update(server: Server, loaded: LoadedConfig) -> None:
    """Whether `server` could go on with `loaded`: whatever is wrong with it is wrong with a server made to find out.

    Raises:
        ConfigError: the configuration can not be used.
        UsageError: it differs in more than listeners and clusters.
    """
    probe = Server(
        server.options, replace(loaded, message=_copy(loaded.message)), Dispatcher(server.dispatcher.loop), bind=False
    )
    await probe.stop()
    before, after = _copy(server.bootstrap), _copy(loaded.message)
    for each in (before, after):
        # The node has been completed by now; nothing depends on it afterwards.
        each.ClearField("node")
        for field in ("listeners", "clusters"):
            each.static_resources.ClearField(field)
    if before != after:
        fields = {field.name for field, _ in (*before.ListFields(), *after.ListFields())}
        different = sorted(name for name in fields if getattr(before, name) != getattr(after, name))
        raise UsageError(
            f"only listeners and clusters can change, not {', '.join(different)}", "make another proxy for the rest"
        )


def update_clusters(server: Server, loaded: LoadedConfig, on_ready: Callable[[], None]) -> None:
    """Add and change clusters; `on_ready` is called when all of them are in use, perhaps at once."""
    manager = server.cluster_manager
    waiting = {config.name for config in loaded.message.static_resources.clusters}
    ready = False

    def done(name: str, cluster: Any = None) -> None:
        nonlocal ready
        waiting.discard(name)
        if not waiting and not ready:
            ready = True
            on_ready()

    manager.add_update_callback(done)
    for index, config in enumerate(loaded.message.static_resources.clusters):
        if not manager.add_or_update_cluster(config, f"static_resources.clusters[{index}]", unlock=True):
            done(config.name)
    if not loaded.message.static_resources.clusters:
        done("")


def update_listeners(server: Server, loaded: LoadedConfig) -> None:
    """Change listeners, and let go of what the new configuration does not have.

    Raises:
        ConfigError: an address can not be had; what was changed until then stays changed.
    """
    listeners = server.listener_manager
    wanted = list(loaded.message.static_resources.listeners)
    names = {config.name for config in wanted if config.name}
    # Without a name the one that has not changed is the same one.
    kept = [each for each in listeners.listeners() if each.name in names or each.config in wanted]
    for each in listeners.listeners():
        if each not in kept:
            listeners.remove_listener(each.name, unlock=True)
    unchanged = [each.config for each in kept]
    for index, config in enumerate(wanted):
        if config not in unchanged:
            listeners.add_or_update_listener(
                config, f"static_resources.listeners[{index}]", added_via_api=False, unlock=True
            )
    for name in set(server.cluster_manager.clusters()) - {
        config.name for config in loaded.message.static_resources.clusters
    }:
        server.cluster_manager.remove_cluster(name, unlock=True)
    server.take_bootstrap(loaded)


def _copy(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made
