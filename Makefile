# Needs make and Python >= 3.11; everything else goes into .venv, once.
#   make run             eta from one image (PLAN=pretrained); PLAN=smoke|laptop|paper
#                        simulate, train and check an estimator first
#   make test            the quick tests
#   make slow            the statistical tests, minutes
#   make check           lint, format, types, layers
#   make docs            the documentation, into site/
#   make clean           forget .venv, site and caches
# ARGS=... is passed on, e.g. make test ARGS="-k vortices".

PLAN ?= pretrained
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Nearly all of the time is compilation, and a file's tests share what they compile.
# Several processes with several BLAS threads each would only be in each other's way.
export OPENBLAS_NUM_THREADS ?= 1
# What is compiled at its first import has to be kept, or it is compiled at every one.
unexport PYTHONDONTWRITEBYTECODE
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=loadfile
PACKAGE_EXTRAS := all tests dev

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help run test slow check lint format types layers docs clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

run: $(VENV)/.installed-all
ifeq ($(PLAN),pretrained)
	$(BIN)/python examples/read_image.py $(ARGS)
else
	$(BIN)/python examples/recover_josephson.py --plan $(PLAN) $(ARGS)
endif

test: $(VENV)/.installed-tests
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

slow: $(VENV)/.installed-tests
	$(BIN)/python -m pytest -m slow $(ARGS)

check: lint format types layers

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check

format: $(VENV)/.installed-dev
	$(BIN)/ruff format --check

types: $(VENV)/.installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per set of extras; a change of pyproject.toml installs again. `uv run`
# makes a .venv without pip, hence ensurepip. pip does not compile what it installs,
# which takes longer than installing it: Python does so at the first import.
$(PACKAGE_EXTRAS:%=$(VENV)/.installed-%): $(VENV)/.installed-%: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "Installing gl15[$*] into $(VENV) (once) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	  --editable ".[$*]"
	@touch $@

# Each candidate is run, not only looked up: a version manager's shim may be on the
# path without the Python behind it. PYTHON=/path/to/python makes the choice by hand.
$(VENV)/pyvenv.cfg:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Creating $(VENV) with $$($$python --version)"; \
	    $$python -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
	    exit 0; \
	  fi; \
	done; \
	echo "gl15 needs Python 3.11 or newer: none of python3.13, python3.12, python3.11, python3 is one." >&2; \
	echo "Install one and run make again, or name it: make PYTHON=/path/to/python3.11 ..." >&2; \
	exit 1
