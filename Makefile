# The two that matter: `make run` starts a node here, `make test` runs every test.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: run test setup setup-dev check format golden lock bench bench-quick bench-long capacity soak clean

run: setup
	@exec $(BIN)/headrace up

test: setup-dev
	@$(BIN)/pytest $(ARGS)

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "headrace needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)

# --no-deps: the lock file names everything; nothing else may come in.
$(VENV)/.installed: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "installing the pinned dependencies into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "installing the pinned test dependencies into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-dev.lock
	@touch $@

check: setup-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pytest tests/test_architecture.py tests/test_docs.py

format: setup-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Renews the files of tests/golden; `git diff` then shows what has changed.
golden: setup-dev
	@GOLDEN=renew $(BIN)/pytest tests/store/test_cluster_analysts.py tests/store/test_cluster_tables.py

# Pins everything anew, for every platform, without the address of any registry.
lock:
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv
	@$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		pyproject.toml --group build -o requirements.lock
	@$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		--group dev -c requirements.lock -o requirements-dev.lock
	@rm -rf $(VENV)-lock

# Each prints its result beside a ceiling measured in the same run, keeps it in benchmarks/results and
# draws it there; about ten minutes in all.
bench: setup-dev
	@$(BIN)/python -m benchmarks.collector
	@$(BIN)/python -m benchmarks.pipeline
	@$(BIN)/python -m benchmarks.freshness
	@$(BIN)/python -m benchmarks.appending
	@$(BIN)/python -m benchmarks.memory
	@$(BIN)/python -m benchmarks.kafka
	@$(BIN)/python -m benchmarks.singles

# The same with short rounds, in about two minutes: shows what fell by much, and keeps nothing.
bench-quick: export BENCH_KEEP := no
bench-quick: setup-dev
	@$(BIN)/python -m benchmarks.collector 1
	@$(BIN)/python -m benchmarks.pipeline 200000
	@$(BIN)/python -m benchmarks.kafka 0.5
	@$(BIN)/python -m benchmarks.singles 0.5 1

# What takes long: saturation, growth, shapes, memory over ten minutes, two processors. Under ninety
# minutes; tables of up to 100 million rows are made at the first run and kept (benchmarks/README.md).
bench-long: setup-dev
	@$(BIN)/python -m benchmarks.saturation
	@$(BIN)/python -m benchmarks.scaleout
	@$(BIN)/python -m benchmarks.steady
	@for dimension in workspaces keys types links rows; do \
		$(BIN)/python -m benchmarks.growth $$dimension || exit 1; done
	@$(BIN)/python -m benchmarks.shapes

# Computes docs/capacity.md anew from the results that are kept.
capacity: setup-dev
	@$(BIN)/python -m benchmarks.capacity --renew

# Faults of every kind under load on real servers, seeded, for as long as asked; ends with the ledger.
MINUTES ?= 10
SEED    ?= 1
soak: setup-dev
	@$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --seed $(SEED) $(ARGS)

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
