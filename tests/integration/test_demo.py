"""`make demo` shows what it says."""

from __future__ import annotations

import re
import subprocess
import sys


def test_the_demo_makes_its_request_and_shows_the_answer(root):
    done = subprocess.run(
        [sys.executable, "-m", "minienvoy.testing.demo", "--once", "configs/03_http_routing.yaml"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    heading, _, answer = done.stdout.partition("\n\n$ curl -i ")
    assert re.fullmatch(r"configs/03_http_routing\.yaml is served on http://127\.0\.0\.1:\d+", heading)
    assert re.match(r"http://127\.0\.0\.1:\d+/users/42\nHTTP/1\.1 200 OK\n", answer)
    assert "\nserver: envoy\n" in answer
    assert re.search(r"\n\nhello from users: GET /users/42, request id [0-9a-f-]{36}\n$", answer)


def test_the_demo_says_how_it_is_called(root):
    done = subprocess.run(
        [sys.executable, "-m", "minienvoy.testing.demo"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python -m minienvoy.testing.demo")
