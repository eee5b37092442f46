# Two commands do everything on a fresh machine: `make demo` and `make test`.
#
#   make demo       the main job on real images: tokenizer, pretraining, probe
#   make test       the tests            make test-slow  those that take long
#                   (the first time, mmcv's operators are compiled)
#   make lint       ruff, mypy, codespell               make format
#   make docs       the documentation                   make clean
#   make lanes      the tests with each Python and torch of requirements/lanes.py
#                   (hours), and the tables of what was tested; LANES="floor"
#   make pins       requirements/tested*.txt anew: the newest of everything
#   make wheelhouse  wheels for a machine without a network that has PyTorch;
#                   PYTHON_VERSION=3.12 DIR=wheels
#   make benchmark  what a training step costs, beside mmpretrain (hours)
#   make reliability  faults injected into trainings, and what survives (30 min)
#   make weights    the small models that travel in the package (10 min.);
#                   PACKAGES="emoji-datasource-*.tgz", see docs/weights.md
#   make gpu-check  what is claimed for GPUs, on one (10 minutes); without a
#                   GPU, with small sizes: GPU_CHECK="--device cpu"
#
# PYTHON chooses the interpreter (3.10 or newer) that makes .venv; PIP_FLAGS is
# passed on to pip.
PYTHON ?= python3
PIP_FLAGS ?=
VENV ?= .venv
LANES ?=
GPU_CHECK ?= --device cuda
PACKAGES ?=
# For which Python `make wheelhouse` collects, where to, and options such as
# --with scipy (see requirements/wheelhouse.py).
PYTHON_VERSION ?= 3.12
DIR ?= dist/wheelhouse-$(PYTHON_VERSION)
WHEELHOUSE_FLAGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(PIP_FLAGS)
PINNED := $(PIP) -c requirements/tested.txt -c requirements/tested_cuda.txt
# Once the pinned pip is there: what builds a source distribution is pinned too.
BUILT := $(PINNED) --build-constraint requirements/tested.txt
# Recipes find the environment's programs (ruff, pytest, mim) first.
export PATH := $(abspath $(BIN)):$(PATH)

CHECKED := mmcae mmcae_command.py tests tools benchmarks configs requirements demo setup.py \
	docs/tutorials docs/images
STAMP_BASE := $(VENV)/.installed-base
STAMP_DEV := $(VENV)/.installed-dev
STAMP_OPS := $(VENV)/.installed-ops
STAMP_DOCS := $(VENV)/.installed-docs
REQUIRED := $(wildcard requirements/*.txt) setup.cfg setup.py

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lanes lanes-core pins wheelhouse \
	benchmark weights gpu-check reliability lint format docs clean

help:
	@sed -n '/^#   make/s/^# *//p' Makefile

$(BIN)/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and "mmcae needs Python 3.10 or newer, this is %d.%d" % v[:2])'
	$(PYTHON) -m venv $(VENV)

# torch first: the others pick the version they find.
$(STAMP_BASE): $(REQUIRED) | $(BIN)/python
	$(PINNED) -r requirements/build.txt
	$(BUILT) torch torchvision numpy
	$(BUILT) -e .
	@touch $@

$(STAMP_DEV): $(STAMP_BASE)
	$(BUILT) -e '.[dev,seg,det,export,hub,demo]'
	@touch $@

# mmdet needs mmcv's compiled operators, and so do the tests.
$(STAMP_OPS): $(STAMP_DEV) tools/build_mmcv_ops.py
	$(BIN)/python tools/build_mmcv_ops.py $(PIP_FLAGS)
	@touch $@

$(STAMP_DOCS): $(STAMP_BASE)
	$(BUILT) -e '.[docs]'
	@touch $@

install: $(STAMP_OPS)

demo: $(STAMP_BASE)
	$(BIN)/python demo/run_demo.py

# A worker for each core, each with one thread: small tensors are faster so,
# and sums keep one order. A file stays in one worker, with what its tests share.
test test-slow lanes lanes-core: export PYTEST_ADDOPTS ?= -n auto --maxprocesses 8 --dist loadfile
test test-slow: export OMP_NUM_THREADS ?= 1
test: $(STAMP_OPS)
	$(BIN)/python -m pytest

test-slow: $(STAMP_OPS)
	$(BIN)/python -m pytest -m slow

lanes lanes-core: export PIP_FLAGS := $(PIP_FLAGS)
lanes:
	@status=0; $(PYTHON) requirements/lanes.py $(LANES) || status=$$?; \
	$(PYTHON) requirements/tested_with.py && exit $$status

lanes-core:
	$(PYTHON) requirements/lanes.py --core $(LANES)

# The tables show the recommended versions too.
pins:
	$(PYTHON) requirements/pins.py
	$(PYTHON) requirements/tested_with.py

wheelhouse: export PIP_FLAGS := $(PIP_FLAGS)
wheelhouse: $(STAMP_BASE)
	$(BIN)/python requirements/wheelhouse.py $(DIR) --python $(PYTHON_VERSION) $(WHEELHOUSE_FLAGS)

benchmark: $(STAMP_BASE)
	$(BIN)/python benchmarks/all.py

reliability: $(STAMP_DEV)
	$(BIN)/python benchmarks/reliability.py --write

weights: $(STAMP_BASE)
	$(BIN)/python benchmarks/make_weights.py --packages $(PACKAGES)

gpu-check: $(STAMP_BASE)
	$(BIN)/python benchmarks/gpu_check.py $(GPU_CHECK)

lint: $(STAMP_DEV)
	ruff check $(CHECKED)
	ruff format --check $(CHECKED)
	mypy
	codespell
	$(BIN)/python requirements/pins.py --check
	$(BIN)/python requirements/tested_with.py --check
	$(BIN)/python docs/tutorials/generate.py --check

format: $(STAMP_DEV)
	ruff check --fix $(CHECKED)
	ruff format $(CHECKED)

docs: $(STAMP_DOCS)
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# Keeps .venv and work_dirs.
clean:
	rm -rf build dist *.egg-info docs/_build .pytest_cache .mypy_cache .ruff_cache
	find mmcae tests tools benchmarks configs -name __pycache__ -type d -prune -exec rm -rf {} +
