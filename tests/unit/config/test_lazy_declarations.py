"""What is declared of a message is known wherever a configuration leads to it, whatever else it has made be imported.

Modules are imported for what a configuration names; `honours` and `forbids` count only in those that are. So the module
that declares something of a message comes with the server, with the extension whose configuration it is, or with a
message above it (`declared_in`).
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import minienvoy
from minienvoy.config import schema

PACKAGE = Path(minienvoy.__file__).parent
BASE = ("minienvoy.server.server", "minienvoy.extensions")
RESOURCES = (
    "envoy.config.bootstrap.v3.Bootstrap",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.config.listener.v3.Listener",
)
OF_OTHERS = {
    "envoy.config.core.v3.ProxyProtocolConfig": "health checks and tunnels send no TLVs",
    "envoy.config.core.v3.ProxyProtocolPassThroughTLVs": "likewise",
}
"""Messages whose fields mean something in one place and nothing in another."""
_WHO_DECLARES = """
import json, sys
from minienvoy.config import fields

told = [("minienvoy.config.fields", name, list(known.honoured), []) for name, known in fields.declarations().items()]

def telling(declare):
    def tell(full_name, *names, **more):
        module = sys._getframe(1).f_globals["__name__"]
        wholes = [name.removesuffix(".*") for name in names if name.endswith(".*")] + list(more.get("whole", ()))
        known = {name.removesuffix(".*") for name in names}.union(wholes)
        for kind in ("values", "when", "ignored", "skips"):
            known.update(more.get(kind) or ())
        # Nothing is declared of a message without fields; a check is of the whole message.
        told.append((module, full_name, [""] if declare is forbids else sorted(known), wholes))
        return declare(full_name, *names, **more)
    return tell

forbids = fields.forbids
fields.honours, fields.forbids = telling(fields.honours), telling(fields.forbids)
from minienvoy.config.supported import import_everything
import_everything()
from minienvoy import registry
print(json.dumps([told, fields._DECLARED_IN, registry.catalogue()]))
"""


@pytest.fixture(scope="module")
def declared() -> Any:
    """(who declares what, `declared_in`, the catalogue)."""
    done = subprocess.run(
        [sys.executable, "-c", _WHO_DECLARES], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout)


def test_declarations_come_with_what_leads_to_a_message(declared: Any) -> None:
    told, declared_in, catalogue = declared
    modules_of: dict[str, dict[str, set[str]]] = {}
    wholes: set[tuple[str, str]] = set()
    for module, full_name, names, whole in told:
        of_message = modules_of.setdefault(full_name, {})
        for name in names:
            of_message.setdefault(name, set()).add(module)
        wholes.update((full_name, name) for name in whole)
    missing = []
    base = _loaded(*BASE)
    begun = [(name, base, name) for name in RESOURCES]
    begun += [(name, base | _loaded(module), name) for name, module in catalogue.items() if _is_message(name)]
    seen: dict[str, list[frozenset[str]]] = {}
    while begun:
        full_name, loaded, path = begun.pop()
        if full_name in declared_in:
            loaded |= _loaded(declared_in[full_name])
        if any(before <= loaded for before in seen.get(full_name, ())):
            continue
        seen.setdefault(full_name, []).append(loaded)
        of_message = modules_of.get(full_name, {})
        for name, modules in of_message.items():
            known = modules <= loaded if not name else not modules.isdisjoint(loaded)
            if not known and full_name not in OF_OTHERS:
                missing.append(f"{path}: {name or 'a check'} of {full_name} is declared in {sorted(modules - loaded)}")
        for field in schema.descriptor(full_name).fields:
            if field.name in of_message and (full_name, field.name) not in wholes:
                begun += [(below, loaded, f"{path}.{field.name}") for below in _messages_of(field)]
    assert not missing, "\n".join(missing)


def _is_message(name: str) -> bool:
    try:
        schema.descriptor(name)
    except KeyError:
        return False  # of the core's enums the catalogue has the names of extensions
    return True


def _messages_of(field: Any) -> Iterator[str]:
    kind = field.message_type
    if kind is not None and schema.is_map(field):
        kind = kind.fields_by_name["value"].message_type
    if kind is not None and not kind.full_name.startswith("google.protobuf."):
        yield kind.full_name


@cache
def _loaded(*modules: str) -> frozenset[str]:
    """What is imported when these are."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _imports(module)
    return frozenset(found)


@cache
def _imports(module: str) -> tuple[str, ...]:
    """What of minienvoy a module imports as it is imported, its packages among them."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    is_package = path.is_dir()
    tree = ast.parse((path / "__init__.py" if is_package else path.with_suffix(".py")).read_text(encoding="utf-8"))
    found = [module.rpartition(".")[0]] if module.count(".") else []
    for statement in _executed(tree.body):
        if isinstance(statement, ast.Import):
            found += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            outer = module.split(".")[
                : None if is_package and statement.level == 1 else -(statement.level - is_package)
            ]
            origin = (
                ".".join((*outer, *filter(None, (statement.module,)))) if statement.level else statement.module or ""
            )
            found.append(origin)
            found += [f"{origin}.{alias.name}" for alias in statement.names]
    return tuple(name for name in found if name.split(".")[0] == "minienvoy" and _exists(name))


def _executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        yield statement
        for part in ("body", "orelse", "finalbody"):
            if isinstance(statement, (ast.If, ast.Try, ast.With)):
                yield from _executed(getattr(statement, part, []))


def _exists(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()


_WHO_REGISTERS = """
import json
from minienvoy.config.supported import import_everything
import_everything()
from minienvoy import registry
from minienvoy.extensions import register_catalogue
register_catalogue()
print(json.dumps([
    [category, entry.name, entry.config_type]
    for category, one in registry.registries().items()
    for entry in one.entries()
    if entry.config_type not in registry.catalogue() and entry.name not in registry.catalogue()
]))
"""
BESIDE_OTHERS = {
    "envoy.extensions.filters.udp.udp_proxy.v3.Route": "comes with the UDP proxy, which alone leads to it",
    "minienvoy.server.admin.AdminFilter": "no configuration names it",
}


def test_the_catalogue_leads_to_whatever_is_registered() -> None:
    """A configuration that is the only one to name an extension finds it, in a process that has imported nothing."""
    told = subprocess.run(
        [sys.executable, "-c", _WHO_REGISTERS], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert {config_type for _, _, config_type in json.loads(told)} <= set(BESIDE_OTHERS)
