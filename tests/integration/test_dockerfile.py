"""The Dockerfile, without a container engine: its form, and its steps in a fresh virtual environment.

A step's paths are moved below a temporary folder that stands for the image's root; everything else is done as written.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

Instruction = tuple[str, str]


@pytest.fixture
def instructions(root) -> list[Instruction]:
    text = re.sub(r"^#.*\n", "", (root / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines()) if name]


def last_stage(instructions: list[Instruction]) -> dict[str, str]:
    """What is in force in the image that is built, of instructions that replace one another."""
    begins = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return dict(instructions[begins:])


def copies(instructions: list[Instruction]) -> list[tuple[list[str], str]]:
    """Sources in the build context, and target."""
    found = [rest.split() for name, rest in instructions if name == "COPY" and not rest.startswith("--from=")]
    return [(words[:-1], words[-1]) for words in found]


def test_the_image_has_the_shape_of_envoys(instructions):
    image = last_stage(instructions)
    assert json.loads(image["ENTRYPOINT"]) == ["minienvoy"]
    assert json.loads(image["CMD"]) == ["-c", "/etc/envoy/envoy.yaml"]
    assert image["USER"] == "65532:65532"
    assert image["EXPOSE"] == "10000"
    assert image["HEALTHCHECK"].endswith('CMD ["minienvoy", "healthcheck"]')
    assert re.findall(r"org\.opencontainers\.image\.(\w+)=", image["LABEL"]) == [
        "title",
        "description",
        "licenses",
        "version",
        "revision",
    ]
    assert (["configs/docker/envoy.yaml"], "/etc/envoy/envoy.yaml") in copies(instructions)


def test_what_is_copied_is_there_and_not_ignored(root, instructions):
    ignored = (root / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    for sources, _ in copies(instructions):
        for source in sources:
            assert (root / source).exists()
            assert any(fnmatch.fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in allowed)


@pytest.mark.slow
def test_its_steps_make_a_minienvoy_that_runs(root, instructions, tmp_path):
    image, folder = tmp_path, tmp_path
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    base = image / "usr/local/bin"  # has the `python` of the base image
    base.mkdir(parents=True)
    (base / "python").write_text(f'#!/bin/sh\nexec "{sys._base_executable}" "$@"\n')
    (base / "python").chmod(0o755)
    variables["PATH"] = f"{image / 'opt/minienvoy/bin'}:{base}:{os.environ['PATH']}"

    def do(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, text=True, timeout=600, check=False
        )

    for name, rest in instructions:
        if name == "WORKDIR":
            folder = image / rest.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif name == "RUN":
            done = do(["sh", "-ec", rest.replace("/opt/", f"{image}/opt/")])
            assert done.returncode == 0, f"{rest}\n{done.stdout}{done.stderr}"
        elif name == "COPY" and rest.startswith("--from="):
            assert (image / rest.split()[1].lstrip("/")).is_dir()
        elif name == "COPY":
            *sources, target = rest.split()
            into = image / target.lstrip("/") if target.startswith("/") else folder / target
            for source in sources:
                if (root / source).is_dir():
                    shutil.copytree(
                        root / source, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.binpb")
                    )
                elif target.endswith("/"):
                    shutil.copy(root / source, into)
                else:
                    into.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(root / source, into)

    folder = image
    stage = last_stage(instructions)
    entrypoint = json.loads(stage["ENTRYPOINT"])
    arguments = [argument.replace("/etc/", f"{image}/etc/") for argument in json.loads(stage["CMD"])]
    assert re.search(r"minienvoy  version: [0-9a-f]{40}/1\.40\.0-", do([*entrypoint, "--version"]).stdout)
    validated = do([*entrypoint, "--mode", "validate", *arguments])
    assert (validated.returncode, validated.stdout) == (0, f"configuration '{image}/etc/envoy/envoy.yaml' OK\n")
    assert do([*entrypoint, "healthcheck", "--admin-address", "127.0.0.1:1"]).returncode == 1
    assert not (image / "opt/minienvoy/bin/pip").exists()
