"""What is imported when: start-up is part of what minienvoy promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"asyncio", "google.protobuf", "yaml", "ssl", "logging", "uvloop", "h11", "h2", "pycares", "dataclasses"}


def imported_by(program: str, *arguments: str) -> set[str]:
    """The heavy modules in `sys.modules` when `program` is over."""
    tell = f"{program}\nimport sys\nprint('\\0' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", tell, *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return HEAVY & set(done.stdout.rpartition("\0")[2].split())


def test_importing_minienvoy_imports_nothing_heavy():
    assert imported_by("import minienvoy") == set()


@pytest.mark.parametrize("flag", ["--version", "--help", "--nope"])
def test_a_command_line_that_serves_nothing_imports_nothing_heavy(flag):
    assert imported_by(f"from minienvoy.cli import main; main(['minienvoy', '{flag}'])") == set()


def test_the_log_imports_nothing_heavy():
    assert imported_by("from minienvoy import logger; logger.get('main').warning('here')") == set()


def test_the_public_names_come_from_their_homes():
    from minienvoy import ConfigError, Explanation
    from minienvoy.errors import ConfigError as error
    from minienvoy.explain.explanation import Explanation as explanation

    assert (ConfigError, Explanation) == (error, explanation)


def test_a_name_that_is_not_public_is_an_attribute_error():
    import minienvoy

    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        minienvoy.Nope


def test_a_configuration_that_follows_kubernetes_does_not_import_the_client_library(root):
    program = (
        "import sys; from minienvoy.cli import main\n"
        "try: main(['minienvoy', '--mode', 'validate', '-c', sys.argv[1]])\n"
        "except SystemExit: pass"
    )
    tell = f"{program}\nprint('\\0' + ' '.join(sys.modules))"
    lesson = str(root / "configs" / "11_kubernetes_service.yaml")
    done = subprocess.run([sys.executable, "-c", tell, lesson], capture_output=True, text=True, check=True, timeout=30)
    loaded = done.stdout.rpartition("\0")[2].split()
    assert "minienvoy.extensions.clusters.kubernetes" in loaded
    assert {"kubernetes_asyncio", "aiohttp", "orjson"}.isdisjoint(loaded)
