# Needs Python >= 3.11, make and PyPI; nothing else. `make demo` and `make test` are the two commands to know.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
# A name on the path is not yet an interpreter (version managers leave stubs), so each candidate is run.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { command -v $$p; break; }; done)
# One embedded PostgreSQL runs per test process, so more than four gain nothing.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2); echo $$((n > 4 ? 4 : n < 2 ? 2 : n)))
PYTEST_ARGS ?=
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: help demo kafka test cluster-test lint types bench migrations-check migration docs lock install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

$(VENV)/made:
	@test -n "$(PYTHON)" || { echo "ValueLoop needs Python 3.11 or newer, and none was found on the PATH." \
		"Install one, or name it: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@# The checkout itself is the package: a path file needs no build back end and no second download.
	@$(BIN)/python -c 'import pathlib, sysconfig; \
		pathlib.Path(sysconfig.get_path("purelib"), "valueloop.pth").write_text(str(pathlib.Path.cwd()) + "\n")'
	@printf '#!/bin/sh\nexec "%s/python" -m services.cli "$$@"\n' "$(abspath $(BIN))" > $(BIN)/valueloop
	@chmod +x $(BIN)/valueloop
	@touch $@

$(VENV)/runtime-installed: requirements.txt $(VENV)/made
	$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/installed: requirements-dev.txt $(VENV)/runtime-installed
	$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

install: $(VENV)/installed ## make .venv with everything for development

demo: $(VENV)/runtime-installed ## install, start everything and play the story of an EV maker; KAFKA=1 over a real broker
	$(if $(KAFKA),$(BIN)/python deploy/kafka/broker.py --port 0 --) $(BIN)/python -m services.cli demo

kafka: ## run a Kafka broker on 127.0.0.1:9092 until Ctrl-C, its data in a temporary directory; needs Java and Maven
	@"$(PYTHON)" deploy/kafka/broker.py

test: $(VENV)/installed ## every test that needs no outside server; PYTEST_ARGS adds options
	$(BIN)/python -m pytest -n $(JOBS) -m "not cluster" $(PYTEST_ARGS)

cluster-test: $(VENV)/installed ## tests on a real Kafka broker and processes that are killed meanwhile; needs Java 17 and Maven
	$(BIN)/python -m pytest -n 0 -m cluster $(PYTEST_ARGS)

lint: $(VENV)/installed ## style, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=. $(BIN)/lint-imports

types: $(VENV)/installed ## mypy, strict for shared/ and every rules.py
	$(BIN)/mypy

$(VENV)/quix-installed: bench/requirements-quix.txt $(VENV)/made
	"$(PYTHON)" -m venv $(VENV)/quix
	$(VENV)/quix/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

bench: $(VENV)/installed $(VENV)/quix-installed ## measure everything beside floors and peers, a million people paid among it; MONEY=100000 pays fewer
	$(BIN)/python -m bench $(if $(MONEY),--payees $(MONEY))

migrations-check: $(VENV)/installed ## migrations build exactly the tables in the code, and lock nothing for long
	$(BIN)/python -m services.cli migrations check
	@set -eo pipefail; for service in goals metrics incentives reviews; do \
		$(BIN)/python -m services.cli migrations sql $$service | $(BIN)/squawk --stdin-filepath $$service.sql; done

migration: $(VENV)/installed ## draft a migration: make migration SERVICE=goals M="why it is needed"
	$(BIN)/python -m services.cli migrations draft $(SERVICE) "$(M)"
	$(BIN)/ruff format --quiet services/$(SERVICE)/migrations && $(BIN)/ruff check --quiet --fix services/$(SERVICE)/migrations

docs: $(VENV)/installed ## write the generated pages: the event catalogue and the table of settings
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.operations_page

lock: ## pin what pyproject.toml asks for, with hashes, for every platform (needs uv: pip install uv)
	@set -e; for kind in "requirements.txt:Runtime dependencies:pyproject.toml" \
			"requirements-dev.txt:Runtime and development dependencies:pyproject.toml --group dev" \
			"bench/requirements-quix.txt:What the comparison with Quix Streams runs on:--group bench"; do \
		IFS=: read -r file title options <<< "$$kind"; \
		uv pip compile $$options --generate-hashes --universal --python-version 3.11 --no-header \
			--no-annotate --no-emit-index-url --no-emit-find-links --quiet --output-file "$$file"; \
		{ echo "# $$title, pinned with hashes. Made from pyproject.toml by \`make lock\`; do not edit."; \
			cat "$$file"; } > "$$file.new"; mv "$$file.new" "$$file"; done

clean: ## remove what was made here, the data in .valueloop/ excepted
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
