PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: run test check clean

run: $(INSTALLED)  ## the main job on the embedded demo
	$(BIN)/wfpipe prune-and-export --out runs/demo --overwrite --max-accuracy-drop 1.0

test: $(INSTALLED)  ## all tests
	$(BIN)/python -m pytest

check: $(INSTALLED)  ## lint, format, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd .venv/source && ../bin/python -m mypy --config-file ../../pyproject.toml -p wfpipe
	$(BIN)/lint-imports

clean:  ## everything that make and the program wrote
	rm -rf .venv build dist runs *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv/source/wfpipe is the project under its own name, for the type checker.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "wfpipe needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
		--constraint constraints.txt --editable '.[dev]'
	mkdir -p .venv/source
	ln -sfn ../.. .venv/source/wfpipe
	touch $@
