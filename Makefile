# Every target makes the environment it needs from plain python3 (3.11 or newer) with its venv and pip.
#   make PYTHON=python3.13 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LESSON ?= configs/03_http_routing.yaml
# demo: make the one request and end
ONESHOT ?=
# test: more arguments for pytest
ARGS ?=
# test: whether kubectl is installed where it is missing (as root, from the packages of Debian or its like); no: it is not
KUBECTL ?= yes
APT := -y -q -o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60

# What is compiled once need not be compiled by each of the many processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help environment demo check kubectl test test-slow bench docs-map docs-supported clean

help:
	@echo 'make demo            serve a lesson with its upstreams; ONESHOT=1 makes one request and ends'
	@echo 'make test            everything that has to pass: ruff, mypy, import-linter, pytest'
	@echo 'make kubectl         install kubectl where it is missing, which some tests want; test does it, too'
	@echo 'make test-slow       the long and the statistical tests'
	@echo 'make bench           measure, beside other proxies'
	@echo 'make docs-supported  write docs/supported.md from the code'
	@echo 'make docs-map        write docs/envoy_map.md from the docstrings'
	@echo 'make clean           remove what these made'

# Dependency groups are read here and not by pip: pip knows them only since 25.1.
$(READY): pyproject.toml hatch_build.py Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "minienvoy needs Python 3.11 or newer; make PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' > $(VENV)/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --requirement $(VENV)/dev.txt
	@touch $(READY)

environment: $(READY)

demo: $(READY)
	@$(BIN)/python -m minienvoy.testing.demo $(if $(ONESHOT),--once) $(LESSON)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

# kubectl is no Python package. Without it the tests that are marked so are skipped, and say it.
kubectl:
	@if command -v kubectl > /dev/null || [ '$(KUBECTL)' != yes ]; then :; \
	elif ! command -v apt-get > /dev/null || [ "$$(id -u)" != 0 ]; then \
	  echo 'kubectl is missing, and this is not root on Debian or its like: the tests that want it are skipped'; \
	else \
	  DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND; \
	  { timeout 120 apt-get $(APT) update && timeout 300 apt-get $(APT) install --no-install-recommends kubernetes-client; } \
	    > /dev/null 2>&1 || echo 'kubectl can not be installed: the tests that want it are skipped'; \
	fi

test: check kubectl
	$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup $(ARGS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow $(ARGS)

bench: $(READY)
	$(BIN)/python -m bench $(ARGS)

docs-map: $(READY)
	$(BIN)/python docs/envoy_map.py > docs/envoy_map.md

docs-supported: $(READY)
	$(BIN)/python -m minienvoy.config.supported > docs/supported.md

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find minienvoy tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
