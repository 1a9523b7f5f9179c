"""`make docs-map` writes `docs/envoy_map.md` from the docstrings of the modules.

The first line of a docstring says what a module is, its paragraph that begins with "Envoy:" where Envoy keeps it.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
INTRODUCTION = """\
# Where Envoy keeps it

Generated from the docstrings by `make docs-map`; do not edit. A module has Envoy's name for what it holds, so this page
can be read both ways. What has no counterpart in Envoy has a dash.

Where minienvoy is laid out differently on purpose:

* Connection pools live in `upstream/`, not beside the codecs: so a layer imports only what is below it.
* `FilterManager` is the codec's decoder and the filters' callbacks at once; Envoy has an object for each.
* An interface is in the module of its first implementation until there is a second one.
"""


def modules() -> list[Path]:
    """Every module that is more than the docstring of its package."""
    found = []
    for path in sorted((ROOT / "minienvoy").rglob("*.py"), key=lambda path: (path.parent, path.name)):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        if path.name != "__init__.py" or len(body) > 1:
            found.append(path)
    return found


def described(path: Path) -> tuple[str, str]:
    """What the module is, and where Envoy keeps it."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    envoy = re.search(r"^Envoy: (.*?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    # The first sentence: a full stop, and then something that begins one.
    home = re.split(r"(?<=[^.][.)`])(?<=\.) (?=[A-Z`\"])", " ".join(envoy[1].split()))[0] if envoy else "-"
    return text.partition("\n\n")[0].replace("\n", " "), home.removesuffix(".")


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    package = None
    for path in modules():
        name = path.relative_to(ROOT / "minienvoy")
        if name.parent != package:
            package = name.parent
            heading = "" if str(package) == "." else f"{package.as_posix()}/"
            parts.append(f"\n## minienvoy/{heading}\n\n| module | what it is | Envoy |\n|--|--|--|\n")
        what, home = (column.replace("|", "\\|") for column in described(path))
        parts.append(f"| `{name.name}` | {what} | {home} |\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
