# `make` alone says what there is. Everything happens in .venv and DIR; nothing outside this folder is touched.

PYTHON ?= $(firstword $(foreach python,python3 python3.13 python3.12 python3.11,$(if \
	$(shell $(python) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(python))))
DIR ?= .weir
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help up test lint check bench chaos clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(VENV)/installed ## install, then run everything on this machine with a simulated stream (DIR=.weir)
	$(BIN)/weir up --demo --dir $(DIR)

test: $(VENV)/installed-dev ## install, then run the tests: no server, no network
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/installed-dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test ## lint and test: what to run before a commit

bench: $(VENV)/installed-dev ## the benchmarks, on the data in WEIR_DATA (see tests/benchmarks/README.md)
	$(BIN)/python -m tests.benchmarks

chaos: $(VENV)/installed-dev ## break everything that can break, and compare with a run left alone (SEED=n FAULT=name)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(FAULT),--fault $(FAULT)) $(CHAOS)

clean: ## remove the environment, caches and builds; the state in DIR stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Weir needs Python 3.11 or newer: install one, or say make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@echo "installing Weir into $(VENV); this takes a few minutes, torch is large"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing Weir and what its tests need into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/installed
