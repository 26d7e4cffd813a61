# Each target sets up what it needs, in .venv, from the locked requirements: `make PYTHON=python3.13 test` chooses the
# Python. Nothing is written outside this folder. `make` alone lists the targets.

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m

# A second call finds .venv as it is, unless the locks, the Python or the place of this folder have changed.
KEY := $(shell { cat requirements/*.txt; pwd; "$(PYTHON)" -VV; } 2>/dev/null | cksum | tr ' ' -)
VENV := .venv/made-$(KEY)
RUNTIME := .venv/runtime-$(KEY)
DEV := .venv/dev-$(KEY)
PROJECT := .venv/project-$(KEY)

# The locks name all that is needed. A pip that resolves them again stumbles over extras (`coverage[toml]`) once a newer
# version is published.
PIP_INSTALL := $(RUN) pip install --quiet --disable-pip-version-check --no-deps
PYTEST := $(RUN) pytest -n auto --dist worksteal --basetemp=.cache/pytest
DOCS_TESTS := $(wildcard tests/contract tests/docs tests/test_docs*.py)
LOCK := env -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS -u UV_INDEX $(BIN)/uv --no-config pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' \
	$(if $(UPGRADE),--upgrade)

export XDG_CACHE_HOME := $(CURDIR)/.cache
unexport PIP_PREFIX PIP_TARGET PIP_USER PYTHONHOME PYTHONPATH VIRTUAL_ENV
# Where Python keeps nothing of what it has compiled, each of the hundreds of processes of the tests compiles it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test test-slow test-long test-postgres check bench screenshots mutants lock sbom clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

run: $(RUNTIME) $(PROJECT) ## serve a demonstration on http://127.0.0.1:8000, with a login for each role
	$(BIN)/titrator serve --demo

# To measure coverage makes all that runs a third slower, so it is done only of the tests that must cover the medicine.
test: $(DEV) $(PROJECT) ## the tests, and that those of the medicine cover it
	@mkdir -p .cache
	$(PYTEST) -m 'not long and not slow' tests/titration --cov
	$(PYTEST) -m 'not long and not slow' --ignore=tests/titration

test-slow: $(DEV) $(PROJECT) ## the tests that take many seconds each: every page, every kind of request, servers killed
	@mkdir -p .cache
	$(PYTEST) -m 'slow and not long'

test-long: $(DEV) $(PROJECT) ## the tests that take longer
	@mkdir -p .cache
	$(PYTEST) -m long

test-postgres: $(DEV) $(PROJECT) ## all tests of the doors, the pages and the work again, on PostgreSQL
	@mkdir -p .cache
	TITRATOR_TEST_STORE=postgresql $(PYTEST) -m 'not long' tests/api tests/fhir tests/web tests/workflow

check: $(DEV) $(PROJECT) ## style, types, imports, documents
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(BIN)/lint-imports
ifneq ($(DOCS_TESTS),)
	@mkdir -p .cache
	$(PYTEST) -m 'not long' $(DOCS_TESTS)
endif

bench: $(DEV) $(PROJECT) ## all measurements, with 100,000 patients; writes docs/benchmarks.md
	$(RUN) bench.all

screenshots: $(DEV) $(PROJECT) ## take the pictures of the documents anew; needs Chromium
	$(RUN) tests.web.screenshots

mutants: $(DEV) $(PROJECT) ## change the medicine, one place at a time: which changes does no test notice?
	rm -rf mutants
	$(RUN) mutmut run
	$(RUN) mutmut results

lock: $(DEV) ## lock the requirements anew; UPGRADE=1 takes newer versions
	@for name in build runtime postgres dev; do \
		echo "requirements/$$name.txt"; $(LOCK) requirements/$$name.in -o requirements/$$name.txt >/dev/null || exit; done

sbom: $(DEV) $(PROJECT) ## the bill of materials, dist/titrator.cdx.json, in CycloneDX
	$(BIN)/python deploy/sbom.py dist/titrator.cdx.json

clean: ## remove all that the other targets made
	rm -rf .venv .cache .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist mutants *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV):
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "titrator needs Python 3.11 or newer: make PYTHON=...")'
	"$(PYTHON)" -m venv --clear .venv
	@touch $@

$(RUNTIME): $(VENV)
	$(PIP_INSTALL) --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	@touch $@

$(DEV): $(VENV)
	$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@ $(RUNTIME)

$(PROJECT): $(RUNTIME) setup.cfg pyproject.toml $(wildcard */__init__.py)
	$(PIP_INSTALL) --no-build-isolation --editable .
	@touch $@
