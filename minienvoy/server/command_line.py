"""Envoy's flags, how they are read, and what `--help` says of them.

Envoy: the first half of `OptionsImpl::OptionsImpl` (`source/server/options_impl.cc`) and the TCLAP library below it.
What TCLAP does is done here: a value is the next argument whatever it looks like (`--flag=value` is not a thing), a
flag may be given once, `--` ends the flags and the rest is ignored, and only the first mistake is reported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..record import record

_LARGEST = 2**32 - 1
_LINE_WIDTH = 75  # TCLAP's StdOutput


@record
class Flag:
    """One flag. `kind` is what Envoy calls the type of the value; an empty kind takes none."""

    name: str
    kind: str
    help: str
    short: str = ""
    repeats: bool = False

    @property
    def id(self) -> str:
        """As errors call it."""
        return f"-{self.short} (--{self.name})" if self.short else f"(--{self.name})"

    @property
    def usage(self) -> str:
        """As the first lines of `--help` have it."""
        value = f" <{self.kind}>" if self.kind else ""
        return f"[{f'-{self.short}' if self.short else f'--{self.name}'}{value}]" + (" ..." if self.repeats else "")

    @property
    def heading(self) -> str:
        value = f" <{self.kind}>" if self.kind else ""
        short = f"-{self.short}{value},  " if self.short else ""
        return f"{short}--{self.name}{value}" + ("  (accepted multiple times)" if self.repeats else "")


class ArgumentError(Exception):
    """The command line can not be read.

    Attributes:
        argument: the flag or word at fault, as TCLAP names it.
        problem: what is wrong with it.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(argument, problem)
        self.argument = argument
        self.problem = problem


STRING, NUMBER, SWITCH = "string", "uint32_t", ""
_NO_HOT_RESTART = "Accepted and without effect: minienvoy has no hot restart."

# In the order of Envoy's own --help.
ENVOY_FLAGS = (
    Flag(
        "stats-tag",
        STRING,
        "A tag for every statistic, as tag:value. Tag names are letters and digits; values may not hold a '.' (dot).",
        repeats=True,
    ),
    Flag("enable-core-dump", SWITCH, "Accepted and without effect: the core dump of an interpreter tells little."),
    Flag("socket-mode", STRING, _NO_HOT_RESTART),
    Flag("socket-path", STRING, _NO_HOT_RESTART),
    Flag("disable-extensions", STRING, "Extensions that configuration may not use, by name, separated by commas"),
    Flag("cpuset-threads", SWITCH, "Accepted and without effect: see --concurrency."),
    Flag("enable-mutex-tracing", SWITCH, "Accepted and without effect: there is no mutex to trace."),
    Flag("disable-hot-restart", SWITCH, _NO_HOT_RESTART),
    Flag(
        "mode",
        STRING,
        "'serve' (default): check the configuration and serve it; 'validate': check it and exit; 'init_only': get"
        " ready to serve and exit.",
    ),
    Flag("parent-shutdown-time-s", NUMBER, _NO_HOT_RESTART),
    Flag(
        "drain-strategy",
        STRING,
        "How connections are drained: 'gradual' (default), ever more of them over the drain time, or 'immediate'.",
    ),
    Flag("drain-time-s", NUMBER, "How long draining takes, in seconds (default 600)"),
    Flag("file-flush-min-size-kb", NUMBER, "Size from which a log file is written to, in KB"),
    Flag("file-flush-interval-msec", NUMBER, "Time after which a log file is written to, in msec (default 10000)"),
    Flag("service-zone", STRING, "Zone of this node"),
    Flag("service-node", STRING, "Name of this node"),
    Flag("service-cluster", STRING, "Cluster that this node belongs to"),
    Flag("hot-restart-version", SWITCH, "Print the version of the hot restart protocol ('disabled') and exit"),
    Flag("restart-epoch", NUMBER, _NO_HOT_RESTART),
    Flag("log-path", STRING, "File to log to instead of standard error; SIGUSR1 reopens it"),
    Flag("enable-fine-grain-logging", SWITCH, "Accepted and without effect: levels are per component."),
    Flag("log-format-escaped", SWITCH, "Escape each line of the log as a C string is escaped"),
    Flag(
        "log-format",
        STRING,
        "Format of the log in spdlog's syntax\n"
        "(see https://github.com/gabime/spdlog/wiki/3.-Custom-formatting)\n\n"
        'Default is "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"',
    ),
    Flag(
        "component-log-level",
        STRING,
        "Levels of single components, separated by commas. For example upstream:debug,config:trace",
    ),
    Flag(
        "log-level",
        STRING,
        "Log levels: [trace][debug][info][warning\n|warn][error][critical][off]\n\nDefault is [info]",
        short="l",
    ),
    Flag("local-address-ip-version", STRING, "IP version of the local address (v4 or v6)"),
    Flag("admin-address-path", STRING, "File that the address of the admin interface is written to"),
    Flag(
        "log-stacktrace-single-entry",
        SWITCH,
        "Accepted and without effect: a stack trace is one entry of the log in any case.",
    ),
    Flag("skip-deprecated-logs", SWITCH, "Do not warn of deprecated fields in the configuration"),
    Flag("ignore-unknown-dynamic-fields", SWITCH, "Ignore unknown fields in dynamic configuration"),
    Flag("reject-unknown-dynamic-fields", SWITCH, "Refuse unknown fields in dynamic configuration"),
    Flag("allow-unknown-static-fields", SWITCH, "Allow unknown fields in static configuration"),
    Flag("allow-unknown-fields", SWITCH, "Allow unknown fields in static configuration (DEPRECATED)"),
    Flag("config-yaml", STRING, "Configuration in YAML, merged over that of --config-path"),
    Flag("config-path", STRING, "Path of the configuration file", short="c"),
    Flag("concurrency", NUMBER, "Accepted without effect but on what the admin interface tells: one process serves."),
    Flag("base-id-path", STRING, "File that the base ID is written to"),
    Flag("skip-hot-restart-parent-stats", SWITCH, _NO_HOT_RESTART),
    Flag("skip-hot-restart-on-no-parent", SWITCH, _NO_HOT_RESTART),
    Flag("use-dynamic-base-id", SWITCH, "Accepted and without effect: servers on one host need no base ID here."),
    Flag("base-id", NUMBER, "Accepted and without effect: servers on one host need no base ID here."),
)

OWN_FLAGS = (
    Flag("seed", NUMBER, "Make every random choice repeatable (default: another run, other choices)"),
    Flag(
        "explain", SWITCH, "Record why each request went where it went; see the admin interface's /minienvoy/explain."
    ),
    Flag(
        "unsupported",
        STRING,
        "What to do if the configuration asks for what minienvoy does not do: 'refuse' (default) to start, or 'warn'.",
    ),
    Flag("http1-codec", STRING, "HTTP/1 codec: 'native' (default), or 'h11', the reference that it is compared with."),
    Flag("http2-codec", STRING, "HTTP/2 codec: 'native' (default), or 'h2', the reference that it is compared with."),
)

SUBCOMMANDS = {
    "explain": "What becomes of a request, and why, without a socket; --check FILE runs tests of routes.",
    "healthcheck": "Ask a running server whether it is ready.",
    "fake-kube": "A Kubernetes API server in memory, which kubectl works against.",
    "kubernetes": "Ingress and Gateway API objects as the configuration, followed live.",
    "simulate": "Many requests over a cluster, in simulated time and without a socket: which host gets which share.",
    "xds-server": "Serves what Kubernetes tells, and a file, over xDS: for real Envoys.",
}
"""First argument -> what it does; each has a --help of its own."""

_ALWAYS = (
    Flag("ignore_rest", SWITCH, "Ignore everything that follows.", short="-"),
    Flag("version", SWITCH, "Print the version and exit."),
    Flag("help", SWITCH, "Print this and exit.", short="h"),
)

Values = dict[str, "str | int | bool | list[str]"]


def parse(arguments: Sequence[str]) -> Values:
    """Read the command line: flag name -> value, of the flags that are set.

    `help` or `version` is set when it is what Envoy would do; what follows it is not looked at.

    Raises:
        ArgumentError: as TCLAP would raise it.
    """
    by_argument: dict[str, Flag] = {}
    for flag in (*ENVOY_FLAGS, *OWN_FLAGS, *_ALWAYS):
        by_argument[f"--{flag.name}"] = flag
        if flag.short:
            by_argument[f"-{flag.short}"] = flag
    values: Values = {}
    rest = iter(arguments)
    for argument in rest:
        if argument in ("", "-"):
            continue  # TCLAP takes a bundle of no switches for read
        found = by_argument.get(argument)
        if found is None:
            if argument[0] != "-" or argument[1] == "-" or " " in argument or "h" not in argument:
                raise ArgumentError(argument, "Couldn't find match for argument")
            if argument.count("h") > 1:
                raise ArgumentError("-h (--help)", "Argument already set!")
            found = by_argument["-h"]  # a bundle of switches; help is the only one that has a letter
        if found.name == "ignore_rest":
            break
        if found.name in values and not found.repeats:
            raise ArgumentError(found.id, "Argument already set!")
        if not found.kind:
            values[found.name] = True
            if found.name in ("help", "version"):
                break
            continue
        value = next(rest, None)
        if value is None:
            raise ArgumentError(found.id, "Missing a value for this argument!")
        if found.repeats:
            earlier = values.setdefault(found.name, [])
            assert isinstance(earlier, list)
            earlier.append(value)
        elif found.kind is NUMBER:
            values[found.name] = _number(found, value)
        else:
            values[found.name] = value
    return values


def _number(flag: Flag, text: str) -> int:
    # As `std::istream >> uint32_t` reads: blanks first, decimal, a minus sign wraps around; nothing at all is 0.
    if not text:
        return 0
    if re.fullmatch(r"\s*[+-]?[0-9]{1,10}", text, re.ASCII):
        number = int(text)
        if abs(number) <= _LARGEST:
            return number & _LARGEST
    elif re.fullmatch(r"(\s*[+-]?[0-9]{1,10}\b){2,}", text, re.ASCII):
        raise ArgumentError(flag.id, f"More than one valid value parsed from string '{text}'")
    raise ArgumentError(flag.id, f"Couldn't read argument value from string '{text}'")


def _wrapped(text: str, indent: int, further_indent: int = 0) -> str:
    """`text` in lines of TCLAP's width; a line break in `text` is one in the result."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        left = paragraph
        while True:
            margin = indent + (further_indent if lines else 0)
            room = _LINE_WIDTH - margin
            if len(left) <= room:
                lines.append((" " * margin + left).rstrip())
                break
            # TCLAP breaks at the last blank, comma or bar that fits
            cut = next((at for at in range(room, -1, -1) if at < len(left) and left[at] in " ,|"), room)
            if cut == 0:
                cut = room
            if left[cut] in ",|" and cut < room:
                cut += 1
            lines.append(" " * margin + left[:cut].rstrip())
            left = left[cut:].lstrip()
    return "\n".join(lines) + "\n"


def _short_usage(program: str) -> str:
    flags = " ".join(flag.usage for flag in (*OWN_FLAGS, *ENVOY_FLAGS))
    return _wrapped(f"{program}  {flags} [--] [--version] [-h]", 3, min(len(program) + 2, _LINE_WIDTH // 2))


def usage(program: str) -> str:
    """What `--help` prints."""

    def described(flags: Sequence[Flag]) -> str:
        return "".join(f"{_wrapped(flag.heading, 3, 3)}{_wrapped(flag.help, 5)}\n" for flag in flags)

    subcommands = "".join(f"{_wrapped(name, 3)}{_wrapped(text, 5)}\n" for name, text in SUBCOMMANDS.items())
    return (
        f"\nUSAGE: \n\n{_short_usage(program)}\n\nWhere: \n\n{described((*ENVOY_FLAGS, *_ALWAYS))}"
        f"Where (minienvoy's own, unknown to Envoy): \n\n{described(OWN_FLAGS)}\n"
        f"Subcommands (minienvoy's own, as the first argument): \n\n{subcommands}\n"
        f"{_wrapped('minienvoy', 3)}\n"
    )


def failure(program: str, error: ArgumentError) -> str:
    """What is printed when the command line can not be read."""
    return (
        f"PARSE ERROR: Argument: {error.argument}\n{' ' * 13}{error.problem}\n\n"
        f"Brief USAGE: \n{_short_usage(program)}\n"
        f"For complete USAGE and HELP type: \n   {program} --help\n\n{error.argument} -- {error.problem}\n"
    )
