# Each target does its own set-up on a bare machine with Python >= 3.11: virtual environment, packages, database.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check format docs clean

demo: $(VENV)/installed-demo ## bundled real images -> ingest, encode, retrieve, evaluate, report
	$(BIN)/medcbir demo --out demo-report

test: $(VENV)/installed-dev ## everything that pytest runs
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(VENV)/installed-dev ## what CI checks besides the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --processes 2 sql

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix --processes 2 sql

# Reinstalled when pyproject.toml or the constraints change.
$(VENV)/installed-%: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

docs: $(VENV)/installed-dev ## the generated pages
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) demo-report dist build
