# Two commands for a fresh machine: `make demo` and `make test`. Each makes .venv once and reuses it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-lowest check format clean

demo: .venv/.installed
	OMP_WAIT_POLICY=ACTIVE $(BIN)/python examples/01_digits.py --out demo

test: .venv/.installed-test
	$(MAKE) check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# What is run before an issue is closed: all tests, the fast ones with the lowest versions, and the demo.
test-all: test test-lowest demo

# The fast tests with the lowest versions that pyproject.toml allows, in an environment of their own.
test-lowest: .venv-lowest/.installed
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 --dist loadfile -m "not slow"

check: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/.installed: pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/.installed-test: pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ .venv/.installed

.venv-lowest/.installed: pyproject.toml setup.py .ci/lowest.py
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check packaging
	.venv-lowest/bin/python .ci/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint .venv-lowest/constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv .venv-lowest build dist *.egg-info demo demo-audio moving shapes signals.png
