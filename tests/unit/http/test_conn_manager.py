from __future__ import annotations
from tests.unit.http_bench import GET, OK
def test_get(bench):
    b = bench()
    c = b.client()
    c.send(GET)
    print(b.upstream.received())
    b.upstream.send(OK)
    print(c.received())
    print(b.explanations.last())
