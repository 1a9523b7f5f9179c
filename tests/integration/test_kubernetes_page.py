"""`docs/kubernetes.md`, followed from its beginning to its end: every command as it stands there, in one shell.

Its ports are others here, for they may be taken; `pip` and `docker` are not run. The files that it shows are written
where it says `# name` first.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import socket
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.kubectl import kubectl_binary

pytestmark = [pytest.mark.asyncio, pytest.mark.kubectl]

PORTS = ("8080", "8081", "8443", "10000", "10001", "9901", "9902", "18000")
"""Those on which something of the page listens."""
COMMANDS = ("curl", "docker", "envoy", "export", "kubectl", "minienvoy", "pip", "python3", "until")
SECONDS = 240
"""More than it takes on any machine; only for a hang."""


def free_ports(count: int) -> list[int]:
    """Different ones, below those that the system gives to others between now and when they are used."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("there are none")


def fenced(page: str) -> list[str]:
    """What is YAML."""
    return re.findall(r"^```yaml\n([\s\S]*?)^```", page, re.MULTILINE)


def script(page: str) -> str:
    """The commands of the page, and before them the files that they need."""
    lines = []
    for text in fenced(page):
        if text.startswith("# "):
            name, _, rest = text.removeprefix("# ").partition("\n")
            lines.append(f"cat > {name} <<'END'\n{rest}END")
    for block in re.findall(r"(?:^    .*\n)+", re.sub(r"^```[\s\S]*?^```", "", page, flags=re.MULTILINE), re.MULTILINE):
        commands = re.sub(r"^    ", "", block, flags=re.MULTILINE)
        if commands.partition(" ")[0] in COMMANDS:
            lines.append(commands)
    return "\n".join(lines)


async def test_its_commands_do_what_it_says(root: Path, tmp_path: Path) -> None:
    kubectl_binary((1, 24))
    commands = script((root / "docs/kubernetes.md").read_text())
    assert commands.count("minienvoy ") >= 5
    assert commands.count("kubectl ") >= 10
    lesson = (root / "configs/11_kubernetes_service.yaml").read_text()
    # 8082 is 82 and 8000 more.
    gateway, *others = free_ports(1 + len(PORTS))
    commands = commands.replace("port: 82,", f"port: {gateway},").replace("--port-offset 8000", "--port-offset 0")
    commands = commands.replace("8082", str(gateway))
    numbers = dict(zip(PORTS, map(str, others), strict=True))
    commands, lesson = (
        re.sub(rf"\b({'|'.join(PORTS)})\b", lambda match: numbers[match[1]], text) for text in (commands, lesson)
    )
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/11_kubernetes_service.yaml").write_text(lesson)
    (tmp_path / "configs/kubernetes").symlink_to(root / "configs/kubernetes")
    if shutil.which("envoy", path=sysconfig.get_path("scripts")) is None:
        commands = commands.replace("envoy -c envoy.yaml", "minienvoy -c envoy.yaml")
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", f"pip() {{ :; }}; docker() {{ :; }}\n{commands}\necho THE END",
        cwd=tmp_path, env={**os.environ, "PATH": path, "HOME": str(tmp_path)}, start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    told = b""
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                while b"THE END" not in told and (some := await process.stdout.read(65536)):
                    told += some
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
    text = told.decode()
    assert "THE END" in text, text
    for expected in (
        'deployment "web" successfully rolled out',
        "no healthy upstream",
        "cluster web: service default/web, port 80",
        "deployment.apps/minienvoy created (dry run)",
        'deployment "minienvoy" successfully rolled out',
        "kubernetes: 1 host(s) on the ports",
        "cluster default/web:80: service default/web, port 80",
        "listening on 127.0.0.1:",
    ):
        assert expected in text, f"{expected!r} is not in\n{text}"
    # Through the Service, and again; through the Ingress, the Gateway and the other Envoy.
    assert text.count("HTTP/1.1 200 OK") == 5, text


async def test_its_clusters_can_be_used(root: Path, tmp_path: Path) -> None:
    """Those that it shows as parts of a configuration, and not as a file."""
    shown = [yaml.safe_load(text) for text in fenced((root / "docs/kubernetes.md").read_text()) if text[0] != "#"]
    clusters = [cluster for part in shown if isinstance(part, dict) for cluster in part.get("clusters", ())]
    clusters += [part[0] for part in shown if isinstance(part, list) and part[0].get("type") == "EDS"]
    assert len(clusters) == 2
    for cluster in clusters:
        path = tmp_path / "bootstrap.yaml"
        path.write_text(yaml.safe_dump({"static_resources": {"clusters": [cluster]}}))
        validate = (sys.executable, "-m", "minienvoy", "-c", str(path), "--mode", "validate")
        process = await asyncio.create_subprocess_exec(*validate, stderr=asyncio.subprocess.PIPE)
        _, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()


async def test_every_promise_has_its_test(root: Path) -> None:
    text = (root / "tests/KUBERNETES.md").read_text()
    files = dict(re.findall(r"^\| `(\w+)` \| `(tests/.*)` \|$", text, re.MULTILINE))
    named = re.findall(r"`(\w+)::(\w+)`", text)
    assert len(named) > 100
    for short, name in named:
        assert f"def {name}(" in (root / files[short]).read_text(), f"{short}::{name}"
