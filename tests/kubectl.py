"""kubectl, which is no Python package: `make kubectl` installs it where it can, and `make test` has it do so."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache

import pytest


def kubectl_binary(least: tuple[int, int] = (1, 20)) -> str:
    """Its path; the test is skipped where there is none, or only one older than `least`."""
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.skip("kubectl is not on the PATH: `make kubectl` installs it on Debian as root, else do it by hand")
    version = _version(binary)
    if version < least:
        pytest.skip(f"kubectl {version[0]}.{version[1]} is too old for this test, which wants {least[0]}.{least[1]}")
    return binary


@cache
def _version(binary: str) -> tuple[int, int]:
    command = [binary, "version", "--client", "-o", "json"]
    out = subprocess.run(command, capture_output=True, timeout=30, check=True).stdout
    client = json.loads(out)["clientVersion"]
    return int(client["major"]), int(client["minor"].rstrip("+"))
