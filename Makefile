PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help install demo up test check bench chaos fuzz clean
.DEFAULT_GOAL := help

help: ## List the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

install: $(STAMP) ## Make the virtual environment and install everything into it

demo: $(STAMP) ## Run a whole MaskTune job on real digits and print before and after
	$(BIN)/masktune demo

up: $(STAMP) ## Serve the API and the workers on 127.0.0.1 until Ctrl-C
	$(BIN)/masktune up

test: $(STAMP) ## Run all tests
	$(BIN)/python -m pytest

check: $(STAMP) ## Lint, types, import boundaries, migrations match the models
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m cli.embedded sh -c '$(BIN)/python -m migrations upgrade && $(BIN)/python -m migrations check'

bench: $(STAMP) ## Run the benchmarks and print their table
	$(BIN)/python -m benchmarks

clean: ## Remove caches; keep the environment and the data
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build
