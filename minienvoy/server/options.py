"""What the command line asked for.

Envoy: `Server::Options`, the second half of `OptionsImpl::OptionsImpl` (`source/server/options_impl.cc`). Errors, their
words and their order are Envoy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from .. import logger
from ..log_pattern import DEFAULT_PATTERN, LEVEL_NAMES
from ..record import record
from .command_line import Values, parse

Mode = Literal["serve", "validate", "init_only"]


class OptionsError(Exception):
    """A flag has a value that makes no sense (`MalformedArgvException`)."""


@record
class Options:
    """The command line; every flag has its default. Without a command line, `Options(config_path=...)` does.

    Attributes:
        config_path: file to read, empty if none.
        config_yaml: YAML to merge over it, empty if none.
        mode: `serve`, `validate` (check the configuration and exit) or `init_only` (get ready to serve and exit).
        concurrency: number of workers, at least 1.
        log_level: one of `logger.TRACE` ... `logger.OFF`.
        component_log_levels: pairs of component and level, over `log_level`.
        log_format_set: whether `log_format` was given; if not, the bootstrap's `application_log_config` may set it.
        drain_time: seconds.
        parent_shutdown_time: seconds.
        file_flush_interval: seconds.
        file_flush_min_size: bytes.
        stats_tags: pairs of tag name and value for every statistic.
        local_address_ip_version: `v4` or `v6`.
        seed: of every random choice; None takes another one each time.
        explain: record an `Explanation` of every request.
        unsupported: `refuse` configuration that asks for what minienvoy does not do, or `warn` of it.
        http1_codec: `native` or `h11`.
        http2_codec: `native` or `h2`.
        warnings: what to log once logging works, as pairs of component and text.
    """

    config_path: str = ""
    config_yaml: str = ""
    mode: Mode = "serve"
    concurrency: int = 1
    log_level: int = logger.INFO
    component_log_level: str = ""
    component_log_levels: tuple[tuple[str, int], ...] = ()
    log_format: str = DEFAULT_PATTERN
    log_format_set: bool = False
    log_format_escaped: bool = False
    log_path: str = ""
    admin_address_path: str = ""
    local_address_ip_version: Literal["v4", "v6"] = "v4"
    service_cluster: str = ""
    service_node: str = ""
    service_zone: str = ""
    drain_time: float = 600.0
    drain_strategy: Literal["gradual", "immediate"] = "gradual"
    parent_shutdown_time: float = 900.0
    file_flush_interval: float = 10.0
    file_flush_min_size: int = 65536
    stats_tags: tuple[tuple[str, str], ...] = ()
    disabled_extensions: tuple[str, ...] = ()
    allow_unknown_static_fields: bool = False
    reject_unknown_dynamic_fields: bool = False
    ignore_unknown_dynamic_fields: bool = False
    skip_deprecated_logs: bool = False
    hot_restart_version: bool = False
    base_id: int = 0
    use_dynamic_base_id: bool = False
    base_id_path: str = ""
    restart_epoch: int = 0
    disable_hot_restart: bool = False
    enable_mutex_tracing: bool = False
    enable_core_dump: bool = False
    enable_fine_grain_logging: bool = False
    cpuset_threads: bool = False
    socket_path: str = "@envoy_domain_socket"
    socket_mode: int = 0
    skip_hot_restart_on_no_parent: bool = False
    skip_hot_restart_parent_stats: bool = False
    log_stacktrace_single_entry: bool = False
    seed: int | None = None
    explain: bool = False
    unsupported: Literal["refuse", "warn"] = "refuse"
    http1_codec: Literal["native", "h11"] = "native"
    http2_codec: Literal["native", "h2"] = "native"
    warnings: tuple[tuple[str, str], ...] = ()

    def command_line_options(self) -> dict[str, object]:
        """As `/server_info` shows them (`envoy.admin.v3.CommandLineOptions`)."""
        return {
            "base_id": str(self.base_id),
            "concurrency": self.concurrency,
            "config_path": self.config_path,
            "config_yaml": self.config_yaml,
            "allow_unknown_static_fields": self.allow_unknown_static_fields,
            "admin_address_path": self.admin_address_path,
            "local_address_ip_version": self.local_address_ip_version,
            "log_level": LEVEL_NAMES[self.log_level],
            "component_log_level": self.component_log_level,
            "log_format": self.log_format,
            "log_path": self.log_path,
            "service_cluster": self.service_cluster,
            "service_node": self.service_node,
            "service_zone": self.service_zone,
            "file_flush_interval": _json_duration(self.file_flush_interval),
            "drain_time": _json_duration(self.drain_time),
            "parent_shutdown_time": _json_duration(self.parent_shutdown_time),
            "mode": {"serve": "Serve", "validate": "Validate", "init_only": "InitOnly"}[self.mode],
            "disable_hot_restart": self.disable_hot_restart,
            "enable_mutex_tracing": self.enable_mutex_tracing,
            "restart_epoch": self.restart_epoch,
            "cpuset_threads": self.cpuset_threads,
            "reject_unknown_dynamic_fields": self.reject_unknown_dynamic_fields,
            "log_format_escaped": self.log_format_escaped,
            "disabled_extensions": list(self.disabled_extensions),
            "ignore_unknown_dynamic_fields": self.ignore_unknown_dynamic_fields,
            "use_dynamic_base_id": self.use_dynamic_base_id,
            "base_id_path": self.base_id_path,
            "drain_strategy": self.drain_strategy.capitalize(),
            "enable_fine_grain_logging": self.enable_fine_grain_logging,
            "socket_path": self.socket_path,
            "socket_mode": 0,  # Envoy does not fill it in
            "enable_core_dump": self.enable_core_dump,
            "stats_tag": [f"{name}:{value}" for name, value in self.stats_tags],
            "skip_hot_restart_on_no_parent": self.skip_hot_restart_on_no_parent,
            "skip_hot_restart_parent_stats": self.skip_hot_restart_parent_stats,
            "skip_deprecated_logs": self.skip_deprecated_logs,
            "file_flush_min_size": 0,  # Envoy does not fill it in
            "log_stacktrace_single_entry": self.log_stacktrace_single_entry,
        }

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Options:
        """Read a command line without the program's name.

        Raises:
            ArgumentError: it can not be read.
            OptionsError: a flag has a value that makes no sense.
        """
        return cls.from_values(parse(arguments))

    @classmethod
    def from_values(cls, values: Values) -> Options:
        """Check what `command_line.parse` read.

        Raises:
            OptionsError: a flag has a value that makes no sense.
        """

        def text(name: str, default: str = "") -> str:
            return cast(str, values.get(name, default))

        def number(name: str, default: int) -> int:
            return cast(int, values.get(name, default))

        def choice(name: str, choices: Sequence[str], problem: str) -> str:
            value = text(name, choices[0])
            if value not in choices:
                raise OptionsError(problem.format(value))
            return value

        level = _level(text("log-level", "info"))
        if "enable-fine-grain-logging" in values and text("component-log-level"):
            raise OptionsError("--component-log-level will not work with --enable-fine-grain-logging")
        component_levels = _component_levels(text("component-log-level"))
        mode = choice("mode", ("serve", "validate", "init_only"), "unknown mode '{}'")
        ip_version = choice("local-address-ip-version", ("v4", "v6"), "unknown IP address version '{}'")
        epoch = number("restart-epoch", 0)
        if "use-dynamic-base-id" in values and epoch:
            raise OptionsError(f"cannot use --restart-epoch={epoch} with --use-dynamic-base-id")
        strategy = choice("drain-strategy", ("gradual", "immediate"), "unknown drain-strategy '{}'")
        warnings = []
        if "cpuset-threads" in values:
            warnings.append(("config", "--cpuset-threads is now the default behavior and no longer required."))
        if "allow-unknown-fields" in values:
            warnings.append(
                ("config", "--allow-unknown-fields is deprecated, use --allow-unknown-static-fields instead.")
            )
        disabled = text("disable-extensions")
        return cls(
            config_path=text("config-path"),
            config_yaml=text("config-yaml"),
            mode=cast(Mode, mode),
            concurrency=max(1, number("concurrency", 1)),
            log_level=level,
            component_log_level=text("component-log-level"),
            component_log_levels=component_levels,
            log_format=text("log-format", DEFAULT_PATTERN),
            log_format_set="log-format" in values,
            log_format_escaped="log-format-escaped" in values,
            log_path=text("log-path"),
            admin_address_path=text("admin-address-path"),
            local_address_ip_version=cast(Literal["v4", "v6"], ip_version),
            service_cluster=text("service-cluster"),
            service_node=text("service-node"),
            service_zone=text("service-zone"),
            drain_time=float(number("drain-time-s", 600)),
            drain_strategy=cast(Literal["gradual", "immediate"], strategy),
            parent_shutdown_time=float(number("parent-shutdown-time-s", 900)),
            file_flush_interval=number("file-flush-interval-msec", 10000) / 1000,
            file_flush_min_size=number("file-flush-min-size-kb", 64) * 1024,
            stats_tags=tuple(map(_stats_tag, cast("list[str]", values.get("stats-tag", [])))),
            disabled_extensions=tuple(disabled.split(",")) if disabled else (),
            allow_unknown_static_fields="allow-unknown-static-fields" in values or "allow-unknown-fields" in values,
            reject_unknown_dynamic_fields="reject-unknown-dynamic-fields" in values,
            ignore_unknown_dynamic_fields="ignore-unknown-dynamic-fields" in values,
            skip_deprecated_logs="skip-deprecated-logs" in values,
            hot_restart_version="hot-restart-version" in values,
            base_id=number("base-id", 0),
            use_dynamic_base_id="use-dynamic-base-id" in values,
            base_id_path=text("base-id-path"),
            restart_epoch=epoch,
            disable_hot_restart="disable-hot-restart" in values,
            enable_mutex_tracing="enable-mutex-tracing" in values,
            enable_core_dump="enable-core-dump" in values,
            enable_fine_grain_logging="enable-fine-grain-logging" in values,
            cpuset_threads="cpuset-threads" in values,
            socket_path=text("socket-path", "@envoy_domain_socket"),
            socket_mode=_socket_mode(text("socket-mode")),
            skip_hot_restart_on_no_parent="skip-hot-restart-on-no-parent" in values,
            skip_hot_restart_parent_stats="skip-hot-restart-parent-stats" in values,
            log_stacktrace_single_entry="log-stacktrace-single-entry" in values,
            seed=number("seed", 0) if "seed" in values else None,
            explain="explain" in values,
            unsupported=cast(
                Literal["refuse", "warn"],
                choice("unsupported", ("refuse", "warn"), "unknown --unsupported '{}', one of refuse, warn"),
            ),
            http1_codec=cast(
                Literal["native", "h11"],
                choice("http1-codec", ("native", "h11"), "unknown --http1-codec '{}', one of native, h11"),
            ),
            http2_codec=cast(
                Literal["native", "h2"],
                choice("http2-codec", ("native", "h2"), "unknown --http2-codec '{}', one of native, h2"),
            ),
            warnings=tuple(warnings),
        )


def _json_duration(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds:.3f}s"


def _level(name: str) -> int:
    level = logger.find_level(name)
    if level is None:
        raise OptionsError(f"invalid log level specified '{name}'")
    return level


def _component_levels(text: str) -> tuple[tuple[str, int], ...]:
    levels = []
    for item in text.split(",") if text else ():
        parts = item.split(":")
        if len(parts) != 2:
            raise OptionsError(f"component log level not correctly specified '{item}'")
        level = _level(parts[1])
        if parts[0] not in logger.NAMES:
            raise OptionsError(f"invalid component specified '{parts[0]}'")
        levels.append((parts[0], level))
    return tuple(levels)


def _stats_tag(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise OptionsError(f"misformatted stats-tag '{text}'")
    if not all(character.isascii() and character.isalnum() for character in name):
        raise OptionsError(f"misformatted stats-tag '{text}' contains invalid char in '{name}'")
    if not value or "." in value:
        raise OptionsError(f"misformatted stats-tag '{text}' contains invalid char in '{value}'")
    return name, value


def _socket_mode(text: str) -> int:
    # Envoy reads what it can of an octal number and takes 0 for the rest.
    digits = text.strip()
    end = 0
    while end < len(digits) and digits[end] in "01234567":
        end += 1
    return int(digits[:end] or "0", 8)
