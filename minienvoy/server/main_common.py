"""The server as a process: reads its bootstrap, serves until told to stop; or only looks whether it could.

Envoy: `MainCommonBase` (`source/exe/main_common.cc`), `validateConfig` (`source/server/config_validation`).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .. import logger
from ..config.loader import LoadedConfig, load_bootstrap
from .application_log import set_log_format
from .listener import NO_LIMIT
from .server import Server

if TYPE_CHECKING:
    from ..explain.log import ExplanationLog
    from .options import Options

_log = logger.get("main")
_config_log = logger.get("config")

_OBJECTS_TO_COLLECT: Final = 10_000
"""As many as some hundred streams are made of. They let go of one another when they end: to look through them while
they are under way finds nothing, and made each of a hundred streams dearer than one of ten."""


def load(options: Options) -> LoadedConfig:
    """Read what `-c` and `--config-yaml` name; warnings about unknown fields go to the log."""
    loaded = load_bootstrap(
        options.config_path or None,
        options.config_yaml or None,
        allow_unknown_static_fields=options.allow_unknown_static_fields,
    )
    for warning in loaded.warnings:
        _config_log.warning(warning)
    set_log_format(loaded.message, options)
    return loaded


def validate(options: Options) -> None:
    """`--mode validate`: everything but taking addresses.

    Raises:
        ConfigError: the configuration can not be used.
    """
    import asyncio

    from ..event.dispatcher import Dispatcher

    async def check() -> None:
        server = Server(options, load(options), Dispatcher(asyncio.get_running_loop()), bind=False)
        await server.stop()

    asyncio.run(check())


def run(options: Options) -> int:
    """Serve until told to stop; the exit code.

    Raises:
        ConfigError: the configuration can not be used.
    """
    import asyncio

    loop_factory: Callable[[], Any] | None = None
    if sys.platform != "win32" and sys.implementation.name == "cpython":
        import uvloop

        loop_factory = uvloop.new_event_loop
    _keep_freed_memory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_serve(options))


def _keep_freed_memory() -> None:
    """Have the C library keep up to 10 MB that are free, where it would give back anything above a few hundred KB.

    The GNU one keeps twice the size of the largest block that was mapped and freed. With its default each piece of a
    body would be on pages that the kernel has to clear first, which takes longer than everything else about it. These
    bytes are not even looked at: they are zeros as the C library got them.
    """
    bytes(5 << 20)


async def _serve(options: Options) -> int:
    import asyncio

    from ..event.dispatcher import Dispatcher
    from .run_helper import RunHelper

    loop = asyncio.get_running_loop()
    _log.info(f"initializing epoch {options.restart_epoch} (base id={options.base_id}, hot restart version=disabled)")
    explanations: ExplanationLog | None = None
    if options.explain:
        from ..explain.log import ExplanationLog

        explanations = ExplanationLog()
    server = Server(options, load(options), Dispatcher(loop), explanations=explanations)
    if server.global_connections.configured == NO_LIMIT:
        _log.warning(
            "There is no configured limit to the number of allowed active downstream connections. Configure a limit in "
            "`envoy.resource_monitors.global_downstream_max_connections` resource monitor."
        )
    for address in server.listener_manager.public_addresses():
        _log.warning(f"listening on {address}, which others can reach: minienvoy is not for the production edge")
    stopped = asyncio.Event()
    server.on_shutdown = stopped.set
    signals = RunHelper(loop, server.shutdown, server.access_logs.reopen)
    try:
        server.start(stopped.set if options.mode == "init_only" else None)
        # What is configured stays: the collector need not look at it again and again.
        gc.freeze()
        gc.set_threshold(_OBJECTS_TO_COLLECT)
        gc.enable()
        await stopped.wait()
        _log.info("main dispatch loop exited")
    finally:
        await server.stop()
        signals.close()
    _log.info("exiting")
    return 0
