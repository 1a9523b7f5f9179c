"""`minienvoy explain`: what becomes of a request, and why, without a socket; `--check` does it for a file of tests.

No Envoy counterpart for the first; the second is `router_check_tool` (docs "Route table check tool").
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .. import logger
from ..errors import MinienvoyError, UsageError
from .outcome import Request

if TYPE_CHECKING:
    from ..config.loader import LoadedConfig
    from ..server.options import Options

_DESCRIPTION = "What becomes of a request, and why: no socket is opened, no name is resolved."
_EPILOG = """\
examples:
  minienvoy explain -c envoy.yaml http://example.com/users/7
  minienvoy explain -c envoy.yaml -X POST -H 'x-canary: yes' -d '{}' --format json http://example.com/users
  minienvoy explain -c envoy.yaml --check routes_test.yaml --fail-under 90 --covall

exit code: 0; with --check 1 if a test fails or too little is covered; 1 if something is wrong with what was given.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # Envoy's exit code for a wrong command line is 1, and so is ours, everywhere.
        sys.stderr.write(f"error: {message}\n\n{self.format_usage()}")
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "minienvoy explain",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "url",
        nargs="*",
        metavar="URL",
        help="where the request goes: http://host[:port]/path?query, or a path with -H 'host: ...';"
        " the method may stand before it",
    )
    add("-c", "--config-path", metavar="FILE", help="the configuration: a bootstrap; for --check also routes alone")
    add("--config-yaml", metavar="TEXT", help="configuration that is merged over the file")
    add("-X", "--request", metavar="METHOD", default="", help="default GET, or POST with -d")
    add("-H", "--header", metavar="'NAME: VALUE'", action="append", default=[], help="repeat for more")
    add("-d", "--data", metavar="TEXT", default="", help="the body")
    add("--listener", metavar="NAME", default="", help="default: by the port of the URL, or the only one")
    add("--source", metavar="ADDRESS", default="127.0.0.1", help="the client's IP address (default %(default)s)")
    add("--format", choices=("text", "json"), default="text")
    add("--seed", metavar="NUMBER", type=int, default=0, help="of random choices (default %(default)s)")
    add("--unsupported", choices=("refuse", "warn"), default="refuse", help="as for the server")
    check = parser.add_argument_group("--check")
    check.add_argument("-t", "--check", "--test-path", metavar="FILE", help="tests as router_check_tool reads them")
    check.add_argument("--route-config", metavar="NAME", default="", help="which one, if there are several")
    check.add_argument("-f", "--fail-under", metavar="PERCENT", type=float, default=0.0, help="of route coverage")
    check.add_argument("--covall", action="store_true", help="coverage of all that can be checked about each route")
    check.add_argument("--details", action="store_true", help="name the tests that pass, too")
    check.add_argument("--only-show-failures", action="store_true", help="name no test that passes")
    check.add_argument("--detailed-coverage", action="store_true", help="name the routes without a test")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The result is the exit code; what is wrong with what was given goes to standard error."""
    try:
        given = _parser().parse_intermixed_args(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    logger.set_level(logger.WARNING)
    try:
        if given.check:
            return _check(given)
        if len(given.url) == 2 and given.url[0].isalpha() and given.url[0].isupper():
            method = given.url.pop(0)
            given.request = given.request or method
        if not given.url:
            raise UsageError("there is no URL to explain", "give one, or a file of tests with --check")
        if len(given.url) > 1:
            raise UsageError(
                f"one URL at a time, not {' and '.join(given.url)}", "quote a URL that has & or blanks in it"
            )
        return _explain(given)
    except MinienvoyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or "\n" in text or "\r" in text:
        raise UsageError(f"-H {text!r} is no header", "write it as 'name: value'")
    return name.strip(), value.strip()


def _options(given: Any) -> Options:
    from ..server.options import Options

    return Options(
        config_path=given.config_path or "",
        config_yaml=given.config_yaml or "",
        seed=given.seed,
        unsupported=given.unsupported,
        explain=True,
    )


def _load(given: Any) -> LoadedConfig:
    from ..config.loader import load_bootstrap
    from ..extensions import register_catalogue

    register_catalogue()
    return load_bootstrap(given.config_path, given.config_yaml)


def _explain(given: Any) -> int:
    request = Request.from_url(
        given.url[0],
        given.request,
        [_header(each) for each in given.header],
        given.data.encode(),
        source=_ip_address(given.source),
        listener=given.listener,
    )
    values, text = asyncio.run(_ask(_options(given), _load(given), request))
    if given.format == "json":
        sys.stdout.write(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(text)
    return 0


async def _ask(options: Options, loaded: LoadedConfig, request: Request) -> tuple[dict[str, Any], str]:
    from .dry_server import DryRun
    from .report import Places, as_text, as_values

    run = DryRun(options, loaded)
    try:
        outcome = await run.ask(request)
        values = as_values(outcome, Places(loaded.source), run.server.cluster_manager)
        return values, as_text(values)
    finally:
        await run.close()


def _ip_address(text: str) -> str:
    from ipaddress import ip_address

    try:
        return str(ip_address(text))
    except ValueError:
        raise UsageError(f"--source {text!r} is no IP address", "give one such as 10.0.0.7") from None


def _check(given: Any) -> int:
    from ..extensions import register_catalogue
    from .check_command import check_routes

    register_catalogue()
    return check_routes(given, _options(given))
