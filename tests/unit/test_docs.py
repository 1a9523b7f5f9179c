"""The pages of `docs/` and what they speak of."""

from __future__ import annotations

import re
import runpy

import pytest


def test_the_map_is_made_from_the_docstrings(root):
    page = runpy.run_path(str(root / "docs/envoy_map.py"))["page"]()
    assert (root / "docs/envoy_map.md").read_text() == page, "run `make docs-map`"


def test_every_module_says_what_it_is(root):
    module = runpy.run_path(str(root / "docs/envoy_map.py"))
    assert [path.name for path in module["modules"]() if not module["described"](path)[0]] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs"])
def test_links_and_paths_lead_somewhere(root, page):
    pages = sorted((root / page).glob("*.md")) if page == "docs" else [root / page]
    broken = []
    for path in pages:
        text = path.read_text()
        targets = [(path.parent, link) for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
        targets += [(root, name) for name in re.findall(r"`((?:minienvoy|configs|tests|docs)/[\w/.]+)`", text)]
        # Generated pages are made by `make docs-supported`, perhaps later.
        broken += [f"{path.name}: {to}" for at, to in targets if not (at / to).exists() and "supported.md" not in to]
    assert broken == []
