# The first Python that fits. 3.11 and 3.12 come first: for them a Redis comes from the package index as well.
PYTHON ?= $(shell \
  for p in python3 python3.12 python3.11 python; do \
    $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo $$p; exit; }; done; \
  for p in python3 python3.13 python3.14 python; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help install demo up browser test check fuzz constraints audit chaos bench clean
.DEFAULT_GOAL := help

help: ## List the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(STAMP): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@echo "Installing into $(VENV) with $(PYTHON); the first time this takes some minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: $(STAMP) ## Make the virtual environment and install everything into it

demo: $(STAMP) ## Run a whole MaskTune job on real digits and print before and after
	@$(BIN)/masktune demo $(ARGS)

up: $(STAMP) ## Serve the API and the workers on 127.0.0.1 until Ctrl-C
	@$(BIN)/masktune up $(ARGS)

browser: $(STAMP) ## Find a Chromium for the browser tests, or install one
	@$(BIN)/python -m tests.web.browser.chromium

# Without a browser its tests fail, with the way out in the message; all others still run.
test: $(STAMP) ## Run all tests, in two processes or PROCESSES=…; 0: one after another
	-@$(MAKE) --no-print-directory browser
	$(BIN)/python -m pytest --numprocesses $(or $(PROCESSES),2) --dist loadgroup --durations=25 $(ARGS)

check: $(STAMP) ## Lint, types, import boundaries, migrations match the models
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip check
	$(BIN)/python -m cli.embedded sh -c '$(BIN)/python -m migrations upgrade && $(BIN)/python -m migrations check'

chaos: $(STAMP) ## Kill random processes under running jobs; SEED=1 COUNT=20
	@$(BIN)/python -m tests.chaos.storm --seed $(or $(SEED),1) --count $(or $(COUNT),20) $(ARGS)

fuzz: $(STAMP) ## Send made-up requests to every operation, ten minutes or SECONDS=…, at the next seed or SEED=…
	@MASKTUNE_FUZZ_SECONDS=$(or $(SECONDS),600) $(if $(SEED),MASKTUNE_FUZZ_SEED=$(SEED)) \
	  $(BIN)/python -m pytest tests/api/fuzz_rounds.py $(ARGS)

constraints: $(STAMP) ## Write the exact versions that the images install, for their Python; asks pypi.org
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/python deploy/make_constraints.py

audit: $(STAMP) ## Look the images' dependencies up among known vulnerabilities; asks pypi.org
	$(BIN)/pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --disable-pip --no-deps --requirement deploy/constraints.txt

bench: $(STAMP) ## Run the benchmarks and print their table
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove caches; keep the environment and the data
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build
