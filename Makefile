# make run           the demo on http://127.0.0.1:8080 (HOST=… PORT=… to change)
# make test          everything that CI runs on one Python (PYTHON=python3.13 for another)
# make check         ruff, mypy, import floors, prose
# make pytest        the tests alone, in two processes (ARGS='tests/unit -k codes'; WORKERS=0 ARGS='-k codes --pdb')
# make coverage      the tests with branch coverage, in one process
# make bench         our load generator against us and our peers (ARGS=…)
# make fuzz          every fuzz target for FUZZ_SECONDS=60 (TARGETS='json paths')
# make hostile       200 attackers beside 1,000 honest clients (ARGS='--seconds 10 --kinds pings')
# make churn         10,000 connections opened and dropped, ten times
# make soak          everything at once for SOAK_SECONDS=1800; writes a plot
# make conformance   the Autobahn suite against both engines (ARGS='--engine picows --cases 1.*', or
#                    ARGS='--engine asgi --server uvicorn' for the asgi engine beside a bare echo)
# make clean
#
# All a fresh clone needs is Python 3.11 or later; the rest is installed beside it, once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# A candidate counts only if it runs: a version manager's shim can exist for a Python that is not there.
usable = $(shell for python in $(1); do \
	"$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)
ifndef PYTHON
PYTHON := $(or $(call usable,python3.11 python3.12 python3.13 python3),python3.11)
endif
VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# `.venv`, unless that one was made with another Python: then `.venv-3.13` and the like.
ifndef VENV
VENV := $(shell [ ! -e .venv/bin/python ] || .venv/bin/python -c \
	'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(VERSION)")' 2>/dev/null && echo .venv || echo .venv-$(VERSION))
endif
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
HOST ?= 127.0.0.1
PORT ?= 8080
ARGS ?=
WORKERS ?= 2

FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 1800
TARGETS ?= frames assembler handshake credentials deflate engineio socketio sockjs json msgpack paths

.PHONY: run test check pytest coverage bench fuzz hostile churn soak conformance clean install tests-need browser clients
.DEFAULT_GOAL := test

run: $(VENV)/.installed
	HOST='$(HOST)' PORT='$(PORT)' exec $(PY) -m mycelia.demo

test: check pytest

check: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy --python-version $(VERSION) --cache-dir .mypy_cache
	$(VENV)/bin/lint-imports
	$(PY) -m tools.prose

pytest: tests-need
	$(PY) -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

coverage: tests-need
	$(PY) -m coverage run -m pytest $(ARGS)
	$(PY) -m coverage report

bench: $(VENV)/.installed-dev
	$(PY) -m benchmarks $(ARGS)

hostile churn: $(VENV)/.installed-dev
	$(PY) -m soak $@ $(ARGS)

soak: $(VENV)/.installed-dev
	$(PY) -m soak soak --seconds $(SOAK_SECONDS) $(ARGS)

# Atheris has an environment of its own: nothing else needs it, and it lags behind new Pythons.
fuzz: build/fuzz/venv/.installed
	for target in $(TARGETS); do \
		mkdir -p build/fuzz/corpus/$$target build/fuzz/crashes; \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		build/fuzz/venv/bin/python -m fuzz $$target -max_total_time=$(FUZZ_SECONDS) -max_len=1024 -verbosity=0 \
			-artifact_prefix=build/fuzz/crashes/$$target- build/fuzz/corpus/$$target fuzz/corpus/$$target; \
	done

build/fuzz/venv/.installed: $(VENV)/.made pyproject.toml constraints.txt fuzz/requirements.txt
	"$(PYTHON)" -m venv build/fuzz/venv
	build/fuzz/venv/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt hatchling editables
	build/fuzz/venv/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
		--no-build-isolation --editable . --requirement fuzz/requirements.txt
	touch $@

clean:
	rm -rf .venv .venv-* .conformance .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist tests/clients/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments -------------------------------------------------------------------------------------

install: $(VENV)/.installed-dev

$(VENV)/.made:
	@[ -n '$(VERSION)' ] || { echo "Mycelia needs Python 3.11 or later; '$(PYTHON)' does not run. Try: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Mycelia needs Python 3.11 or later; '$(PYTHON)' is $(VERSION)." >&2; exit 1; }
	[ -x $(PY) ] || "$(PYTHON)" -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --no-build-isolation --editable '.[dev]'
	touch $@

# --- what the tests need besides Python -----------------------------------------------------------------
# A missing part is reported here and fails its tests when CI=true; elsewhere those tests are skipped, saying so.

tests-need: $(VENV)/.installed-dev browser clients

browser:
	@command -v chromium >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo 'Installing chromium for the test of the demo page'; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null && exit 0; \
	fi; \
	echo "Missing: chromium, for the test of the demo page. On Debian: sudo apt-get install chromium" >&2; \
	[ "$${CI:-}" != true ]

clients: tests/clients/node_modules/.installed

tests/clients/node_modules/.installed: tests/clients/package.json tests/clients/package-lock.json
	@if command -v npm >/dev/null; then \
		cd tests/clients && npm ci --silent && touch node_modules/.installed; \
	else \
		echo "Missing: node and npm, for the tests with an independent client." >&2; [ "$${CI:-}" != true ]; \
	fi

# --- conformance ----------------------------------------------------------------------------------------

PYTHON27 ?= $(shell for python in python2.7 "$$HOME"/.pyenv/versions/2.7.*/bin/python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' >/dev/null 2>&1 && echo "$$python" && break; done)
PIP27 = -m pip --disable-pip-version-check install --quiet

conformance: $(VENV)/.installed .conformance/.installed
	$(PY) tests/conformance/autobahn.py --wstest .conformance/venv/bin/wstest --reports .conformance/reports $(ARGS)

.conformance/.installed: tests/conformance/autobahn-constraints.txt
	@[ -n '$(PYTHON27)' ] || { echo "The Autobahn suite needs Python 2.7. Try: make conformance PYTHON27=/path/to/python2.7" >&2; exit 1; }
	rm -rf .conformance/bootstrap .conformance/venv
	PYTHONWARNINGS=ignore '$(PYTHON27)' $(PIP27) --target .conformance/bootstrap virtualenv==20.15.1
	PYTHONPATH=.conformance/bootstrap '$(PYTHON27)' -m virtualenv --quiet --no-download .conformance/venv
	PYTHONWARNINGS=ignore .conformance/venv/bin/python $(PIP27) --constraint $< autobahntestsuite
	touch $@
