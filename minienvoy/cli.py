"""`minienvoy`: Envoy's command line, in front of minienvoy.

Envoy: `source/exe/main.cc`, `MainCommonBase`, `source/server/config_validation/server.cc` (`validateConfig`). A bare
`minienvoy -c envoy.yaml` serves, as `envoy -c envoy.yaml` does; a first argument that is one of `SUBCOMMANDS` is ours.

Exit codes are Envoy's: 0 after a graceful end, `--help` and `--version`; 1 if the command line or the configuration can
not be used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .server.command_line import ArgumentError, failure, parse, usage

if TYPE_CHECKING:
    from .server.options import Options


def _healthcheck(arguments: Sequence[str]) -> int:
    from .server.healthcheck import main as healthcheck

    return healthcheck(arguments)


def _simulate(arguments: Sequence[str]) -> int:
    from .simulate.main import main as simulate

    return simulate(arguments)


def _explain(arguments: Sequence[str]) -> int:
    from .dry_run.explain_command import main as explain

    return explain(arguments)


def _fake_kube(arguments: Sequence[str]) -> int:
    from .testing.fake_kube.main import main as fake_kube

    return fake_kube(arguments)


def _kubernetes(arguments: Sequence[str]) -> int:
    from .ingress.main import main as kubernetes

    return kubernetes(arguments)


def _xds_server(arguments: Sequence[str]) -> int:
    from .discovery.xds_server.main import main as xds_server

    return xds_server(arguments)


SUBCOMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "explain": _explain,
    "fake-kube": _fake_kube,
    "healthcheck": _healthcheck,
    "kubernetes": _kubernetes,
    "simulate": _simulate,
    "xds-server": _xds_server,
}
"""Name -> what runs it with the rest of the command line; each imports its own module."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (program name first; default `sys.argv`); the result is the exit code."""
    program, *arguments = sys.argv if argv is None else argv
    if os.path.basename(program) == "__main__.py":  # noqa: PTH119 (importing pathlib costs 5 ms)
        program = "minienvoy"
    if arguments and arguments[0] in SUBCOMMANDS:
        return SUBCOMMANDS[arguments[0]](arguments[1:])
    try:
        values = parse(arguments)
    except ArgumentError as error:
        sys.stderr.write(failure(program, error))
        return 1
    if "help" in values:
        sys.stdout.write(usage(program))
        return 0
    if "version" in values:
        from .version import version

        sys.stdout.write(f"\n{program}  version: {version()}\n\n")
        return 0

    from .server.options import Options, OptionsError

    try:
        options = Options.from_values(values)
    except OptionsError as wrong:
        sys.stderr.write(f"error: {wrong}\n")
        return 1
    if options.hot_restart_version:
        sys.stderr.write("disabled\n")
        return 0
    try:
        return _run(options)
    except KeyboardInterrupt:  # before the server took the signal over
        return 130


def _run(options: Options) -> int:
    import gc

    # Until it serves, a server only makes what it keeps: there is no garbage to look for.
    gc.disable()
    from . import logger
    from .errors import MinienvoyError
    from .extensions import register_catalogue

    register_catalogue()
    logger.set_level(options.log_level)
    for name, level in options.component_log_levels:
        logger.get(name).set_level(level)
    logger.SINK.set_format(options.log_format, options.log_format_escaped)
    for name, text in options.warnings:
        logger.get(name).warning(text)
    log = logger.get("main")

    if options.disabled_extensions:
        _disable_extensions(options.disabled_extensions)
    if options.mode == "validate":
        from .server.main_common import validate

        try:
            validate(options)
        except MinienvoyError as error:
            # An error may have several lines, and a line of it is a line of the log.
            for line in f"error initializing configuration '{options.config_path}': {error}".splitlines():
                log.critical(line)
            return 1
        sys.stdout.write(f"configuration '{options.config_path}' OK\n")
        return 0

    from .server.main_common import run

    try:
        logger.SINK.open(options.log_path)
        return run(options)
    except MinienvoyError as error:
        # Not the YAML of the command line, as Envoy: there may be passwords in it.
        given = options.config_path or ("--config-yaml" if options.config_yaml else "")
        for line in f"error `{error}` initializing config '{given}'".splitlines():
            log.critical(line)
        log.info("exiting")
        # Once more, for whoever turned the log off or sent it to a file.
        sys.stderr.write(f"{error}\n")
        return 1


def _disable_extensions(names: tuple[str, ...]) -> None:
    """`--disable-extensions`: `category/name` each; what is not there is warned of (`OptionsImplBase`)."""
    from . import logger
    from .registry import disable

    log = logger.get("misc")
    for each in names:
        category, slash, name = each.partition("/")
        if not slash:
            log.warning(f"failed to disable invalid extension name '{each}'")
        elif disable(category, name):
            log.info(f"disabled extension '{each}'")
        else:
            log.warning(f"failed to disable unknown extension '{each}'")
