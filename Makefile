# Everything sets itself up: `make demo` and `make test` need only Python >= 3.11, make and git.
.PHONY: help setup demo test check chaos chaos-table public-playwright lint types fmt bench clean
PY := .venv/bin/python

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' Makefile

setup:  ## the virtual environment (.venv), nothing else
	@scripts/setup

demo: setup  ## the main job on this machine: a sample suite over several machines, one of which dies
	@$(PY) -m ci_dispatch demo

test: setup  ## everything: lint, types, all tests with real components (installed where that is possible)
	@scripts/install-test-tools
	@scripts/test

check: setup lint types  ## the inner loop, under a minute: lint, types, fast tests
	@$(PY) -m pytest -q -n auto tests/unit tests/contract tests/golden -m "not slow and not needs"

SEEDS ?= 100
JOBS ?= 2
chaos: setup  ## whole runs under seeded faults: SEEDS=1000, SEEDS=17,18, SEED=17, FAULT="black hole", JOBS=2
	@$(PY) -m tests.chaos.campaign $(SEEDS) --jobs $(JOBS) $(if $(SEED),--seed $(SEED)) $(if $(FAULT),--fault "$(FAULT)")

public-playwright: setup  ## JupyterLab's browser suite by Playwright alone and by ci-dispatch: ARGS="--project jupyterlab"
	@$(PY) -m tests.public_suites.playwright $(ARGS)

chaos-table: setup  ## what the last campaign came to, into docs/reliability.md
	@$(PY) -m tests.chaos.table

lint:
	@$(PY) -m ruff check -q . && $(PY) -m ruff format -q --check .

types:
	@$(PY) -m mypy --no-error-summary

fmt: setup  ## format and fix what can be fixed
	@$(PY) -m ruff format -q . && $(PY) -m ruff check -q --fix .

bench: setup  ## all benchmarks; the table is docs/benchmarks.md
	@scripts/install-test-tools
	@$(PY) -m benchmarks

clean:  ## what the targets above made
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
