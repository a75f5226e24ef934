# Two commands for a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint pytest benchmark

demo: .venv/installed
	$(BIN)/hebm train digits --run-dir runs/demo --twin --resume
	$(BIN)/hebm evaluate runs/demo --suite samples
	$(BIN)/hebm report runs/demo

test: lint pytest

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

pytest: .venv/installed
	$(BIN)/python -m pytest

benchmark: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	$(BIN)/python -m benchmarks.suite
	$(BIN)/python -m benchmarks.performance_page

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -c 'import triton' 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check -e '.[triton]'
	touch $@
