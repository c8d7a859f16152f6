# Everything is installed into .venv; only Python >= 3.11 and make are needed.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
# Tests in suites: each file with slow tests is in one of them. A suite alone runs all tests of its
# files; `test-all` runs the others once, in `test`, and the slow ones in their suites.
SUITES := store views scale server release
STORE := store runs_command resume assets remote_assets catalogue backfill digest fingerprints \
	fingerprint_edits cache cache_code cache_law nested_cache lost_values observing own_threads tables schemas pages
VIEWS := views labels layout pictures graph_command report live browser notebook notebook_apps printable site
SCALE := places processes end width_law \
	$(filter-out scale_prefect,$(patsubst tests/test_%.py,%,$(wildcard tests/test_scale_*.py)))
SERVER := prefect_contract schedules deploy scale_prefect
RELEASE := artifact namespace typing platforms peers
suite = $(PYTEST) --durations 10 $(ONLY) $(patsubst %,tests/test_%.py,$(1))
export DO_NOT_TRACK := 1

.PHONY: docs run test test-all $(SUITES:%=test-%) snapshots pictures lint type check bench build audit clean examples
.NOTPARALLEL: # each suite has two workers of its own

run: .venv/examples  ## the market example through Prefect: its graph, then its results as JSON
	$(BIN)/mxm-pipeline graph market
	$(BIN)/mxm-pipeline run market

test: .venv/dev  ## the tests, on two workers
	$(PYTEST) -m "not slow"

test-all:  ## the tests, then the slow ones suite by suite; what fails stops no other suite
	$(MAKE) --keep-going test $(SUITES:%=test-%) ONLY="-m slow"

test-store: .venv/dev  ## runs, cache, assets, backfills and resume: the tests of .mxm/
	$(call suite,$(STORE))

test-views: .venv/dev  ## drawings, pages in a browser, reports, live progress, notebooks and the site
	$(call suite,$(VIEWS))

test-scale: .venv/scale  ## workers in other processes and on clusters of Dask and Ray, wide maps
	$(call suite,$(SCALE))

test-server: .venv/dev  ## Prefect servers, PostgreSQL, schedules and deployments
	$(call suite,$(SERVER))

test-release: .venv/dev  ## wheel and sdist, other Pythons, oldest dependencies, type checkers, other tools
	$(call suite,$(RELEASE))

snapshots: .venv/dev  ## renew what the command prints and the API, in tests/golden and in the docs; read the diff
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q $(patsubst %,tests/test_%.py,cli runs_command public_api pages)

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

bench: .venv/scale  ## measures beside plain Prefect; writes benchmarks/results and docs/benchmarks.md; then Dask and Ray
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/clusters.py

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
