# A fresh machine needs Python >= 3.11 with pip, and make. Everything else comes from PyPI into .venv.
.DEFAULT_GOAL := help
.PHONY: help demo run test check fix tables fields bench clean
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; `make PYTHON=/path/to/python3.13 ...` overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTEST_ARGS ?= -n 2

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.run: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

demo: $(VENV)/.run ## walk the workshop against a real gateway; LIVE=1 uses the real hosts
	@$(BIN)/egress-gateway workshop $(if $(filter 1 true yes,$(LIVE)),--live)

run: $(VENV)/.run ## the demo's gateway on 127.0.0.1:8443, with the curl lines to try
	@$(BIN)/egress-gateway workshop --stay $(if $(filter 1 true yes,$(LIVE)),--live)

test: $(VENV)/.dev ## the whole test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.dev ## what the tools can mend by themselves
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tables: $(VENV)/.dev ## make the CEL parser's tables anew, after an upgrade of lark or cel-python
	$(BIN)/python -c 'from config.cel.grammar import save_tables; save_tables()'

fields: $(VENV)/.dev ## write docs/fields.md and the table of docs/check.md anew
	$(BIN)/python -m tests.fields
	$(BIN)/python -m tests.codes

bench: $(VENV)/.dev ## this gateway beside its peers; ARGS="--peers envoy --rules 1000" passes options, ARGS=--help lists them
	@$(BIN)/python -m tests.benchmarks $(ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) .demo .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis
