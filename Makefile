# Each target does its own set-up on a bare machine with Python >= 3.11: virtual environment, packages, database.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check format docs clean system-packages

demo: $(VENV)/installed-demo ## bundled real images -> ingest, encode, retrieve, evaluate, report
	$(BIN)/medcbir demo --out demo-report

test: $(VENV)/installed-dev system-packages ## everything that pytest runs
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

# A PACS to test against, an independent reader of DICOM, a browser. Without root or apt-get those tests say that they
# are skipped.
SYSTEM_PACKAGES := orthanc orthanc-dicomweb dcmtk chromium fonts-dejavu-core
DICOMWEB_PLUGIN := /usr/share/orthanc/plugins/libOrthancDicomWeb.so
system-packages: ## Debian packages that the tests of a PACS, against dcmtk and in a browser need
	@{ command -v Orthanc && command -v storescu && command -v chromium && test -e $(DICOMWEB_PLUGIN); } >/dev/null 2>&1 || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && export DEBIAN_FRONTEND=noninteractive && \
	  { apt-get install -qq -y --no-install-recommends $(SYSTEM_PACKAGES) >/dev/null 2>&1 || \
	    { apt-get update -qq && apt-get install -qq -y --no-install-recommends $(SYSTEM_PACKAGES); } >/dev/null 2>&1; } && \
	  { service orthanc stop >/dev/null 2>&1 || true; }; \
	} || echo "not installed: $(SYSTEM_PACKAGES); the tests that need them will be skipped"

docs: $(VENV)/installed-dev ## the generated pages
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) demo-report dist build
