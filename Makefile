# Everything is installed into .venv; only Python >= 3.11 and make are needed.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
tests = $(patsubst %,tests/test_%.py,$(1))
STORE := store runs_command resume assets catalogue backfill digest fingerprints fingerprint_edits \
	cache cache_code cache_law nested_cache observing tables
VIEWS := views labels layout pictures graph_command report live browser notebook notebook_apps printable
export DO_NOT_TRACK := 1

.PHONY: docs run test test-all test-store test-views test-scale snapshots pictures lint type check bench build audit clean examples

run: .venv/examples  ## the market example through Prefect: its graph, then its results as JSON
	$(BIN)/mxm-pipeline graph market
	$(BIN)/mxm-pipeline run market

test: .venv/dev  ## the tests, on two workers
	$(PYTEST) -m "not slow"

test-all: .venv/scale  ## the tests, and those that need a server, a browser, wheels, other Pythons, oldest dependencies
	$(PYTEST) --durations 20

test-store: .venv/dev  ## runs, cache, assets, backfills and resume: all tests of .mxm/
	$(PYTEST) $(call tests,$(STORE))

test-views: .venv/dev  ## drawings, pages in a browser, reports and live progress
	$(PYTEST) $(call tests,$(VIEWS))

test-scale: .venv/scale  ## workers elsewhere, schedules, deployments
	$(PYTEST) $(call tests,places processes) $(wildcard $(call tests,scale_* schedule* serve* deploy*))

snapshots: .venv/dev  ## renew what the command prints and the API, in tests/golden and in the docs; read the diff
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q $(call tests,cli runs_command public_api pages)

pictures: .venv/dev  ## draw the pictures of README.md again
	$(BIN)/mxm-pipeline graph examples/market.py:market --out docs/pictures/market.svg
	$(BIN)/python docs/pictures/draw.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: .venv/dev
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/mypy

check: lint type test

examples: .venv/examples  ## every example through Prefect
	$(BIN)/mxm-pipeline check
	$(BIN)/mxm-pipeline run example -p limit=100 -p mode=fast
	$(BIN)/mxm-pipeline run operations
	$(BIN)/mxm-pipeline run market
	$(BIN)/mxm-pipeline run book
	$(BIN)/mxm-pipeline run quotes
	$(BIN)/mxm-pipeline run rates -p amount=250
	$(BIN)/mxm-pipeline run ledger --runner threads
	$(BIN)/mxm-pipeline run basket --value
	$(BIN)/mxm-pipeline run fixings --for day=2018-12-24..2018-12-31 --every weekday
	$(BIN)/mxm-pipeline schedule

bench: .venv/dev  ## measures beside plain Prefect; writes benchmarks/results and docs/benchmarks.md
	$(BIN)/python benchmarks/run.py

docs: .venv/docs  ## the site of the docs, in out/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: .venv/dev  ## the sdist, and the wheel from it, in dist/; the same tree gives the same bytes
	rm -rf dist
	$(BIN)/python -m build

audit: .venv/dev  ## known vulnerabilities of what is installed with the extras; what cannot be looked up is an error
	mkdir -p build
	$(BIN)/python -m uv pip compile --quiet --generate-hashes --extra prefect --extra yaml --extra examples \
		--extra dask --extra ray --extra remote --output-file build/locked.txt pyproject.toml
	$(BIN)/python -m uv tool run pip-audit --strict --disable-pip --requirement build/locked.txt

clean:
	rm -rf .venv build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is too old: Python 3.11 or later is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/examples: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[prefect,examples]'
	@touch $@

.venv/scale: .venv/dev
	$(BIN)/python -m pip install --quiet --editable '.[dask,ray]'
	@touch $@

.venv/docs: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[prefect,yaml,examples,dev]'
	@touch $@
