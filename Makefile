# Everything here sets up what it needs first: Python, pip and make are enough to begin with.
#
#   make demo         three programs on a local cluster, two of them against one process too
#   make test         all tests          (PYTEST_ARGS="-k wait -x" for some)
#   make lint         ruff and mypy
#   make bench-quick  a minute against Ray;  make bench  all of it
#   make bench-two-hosts  calls and arrays between two network namespaces; needs to make such
#   make bench-table  the README's figures, from the newest results that git knows

PYTHON ?= python3
RAY_VERSION ?= 2.60.0
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN := .venv/bin
READY := .venv/ready
BENCH_READY := .venv/ready-bench
RAY_READY := .venv-ray/ready
COMPARE = $(BIN)/python -m benchmarks.compare --python ray=.venv-ray/bin/python \
	--python ray_on_dask=$(BIN)/python

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Debian keeps ensurepip in a package of its own; without it the venv gets its pip from ours.
define make_venv
$(PYTHON) -m venv $(1) >/dev/null 2>&1 || { \
	$(PYTHON) -m venv --clear --without-pip $(1) && \
	$(PYTHON) -m pip --python $(1)/bin/python install --quiet pip; }
endef

.PHONY: help venv compiled demo test lint bench-quick bench bench-two-hosts bench-table clean

help:
	@sed -n 's/^#   //p' Makefile

venv: $(READY)

$(READY): pyproject.toml setup.py
	$(call make_venv,.venv)
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	@touch $@

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@

$(RAY_READY):
	$(call make_venv,.venv-ray)
	.venv-ray/bin/python -m pip install --quiet ray==$(RAY_VERSION) numpy psutil
	@touch $@

# Where PYTHONDONTWRITEBYTECODE is set, every process would compile all modules for itself.
compiled: $(READY)
	@$(BIN)/python -m compileall -q ray_on_dask

demo: compiled
	$(BIN)/python examples/digits_search.py
	$(BIN)/python examples/stdlib_mapreduce.py
	$(BIN)/python examples/parameter_server.py

test: compiled
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench-quick: $(BENCH_READY) $(RAY_READY)
	$(COMPARE) --quick $(BENCH_ARGS)

bench: $(BENCH_READY) $(RAY_READY)
	$(COMPARE) --python dask=$(BIN)/python $(BENCH_ARGS)

bench-two-hosts: $(BENCH_READY) $(RAY_READY)
	$(BIN)/python -m benchmarks.two_hosts --ray .venv-ray/bin \
		--output benchmarks/results/two-hosts.json $(BENCH_ARGS)

bench-table: $(READY)
	$(BIN)/python -m benchmarks.readme_table

clean:
	rm -rf .venv .venv-ray .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
