"""The filter of `docs/extending.md` works as the page says."""

from __future__ import annotations

import re
import textwrap

import pytest

from minienvoy import Proxy

pytestmark = pytest.mark.asyncio


@pytest.fixture
def page(root):
    return (root / "docs/extending.md").read_text()


async def test_the_filter_of_the_page_answers_who_has_no_ticket(root, page, fetch):
    (code,) = re.findall(r"```python\n(\"\"\".*?)```", page, re.DOTALL)
    (filters,) = re.findall(r"```yaml\nhttp_filters:\n(.*?)```", page, re.DOTALL)
    exec(code, {"__name__": "ticket"})
    lesson = (root / "configs/08_direct_response_redirect.yaml").read_text()
    bootstrap = lesson.replace("http_filters:\n", f"http_filters:\n{textwrap.indent(filters, ' ' * 10)}")
    async with Proxy.from_yaml(bootstrap) as proxy:
        url = f"{proxy.url('http')}/hello"
        refused = await fetch(url)
        assert (refused.status, refused.body) == (403, b"no ticket")
        assert proxy.explain.last()["local_reply"].because == "ticket_missing"
        assert (await fetch(url, headers=[("x-ticket", "17")])).body == b"hello\n"
