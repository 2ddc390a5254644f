PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
NATIVE := $(wildcard exporters/runtime/native/*) exporters/runtime/compiler.py
PLATFORMS := linux-x86_64 linux-aarch64 macos-arm64 windows-x86_64

.PHONY: run test check wheels clean

run: $(INSTALLED)  ## the main job on the embedded demo
	$(BIN)/wfpipe prune-and-export --out runs/demo --overwrite --max-accuracy-drop 1.0

test: $(INSTALLED)  ## all tests
	$(BIN)/python -m pytest

check: $(INSTALLED)  ## lint, format, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd .venv/source && ../bin/python -m mypy --config-file ../../pyproject.toml -p wfpipe
	$(BIN)/lint-imports

wheels: $(INSTALLED)  ## dist/: the sources, and a wheel with the kernels for each platform, by zig
	rm -rf dist
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
		--constraint constraints.txt 'setuptools>=77' 'ziglang>=0.14.1'
	$(BIN)/python -c 'from exporters.runtime.building import backend; backend.build_sdist("dist")'
	for platform in $(PLATFORMS); do WFPIPE_PLATFORMS=$$platform $(BIN)/python -m pip wheel \
		--no-deps --no-build-isolation --wheel-dir dist dist/wfpipe-*.tar.gz || exit 1; done
	$(BIN)/python tests/building/check_wheels.py dist

clean:  ## everything that make and the program wrote
	rm -rf .venv build dist runs exporters/runtime/libraries *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The library of the kernels follows its sources, and the compiler's complaints are shown.
$(INSTALLED): .venv/environment $(NATIVE)
	$(BIN)/python -m wfpipe.exporters.runtime.building
	touch $@

# Compiling 10,000 modules takes longer than the rest: pip does it one after the other.
# .venv/source/wfpipe is the project under its own name, for the type checker.
.venv/environment: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "wfpipe needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile \
		--constraint constraints.txt --editable '.[dev]'
	cd .venv && bin/python -m compileall -qq -j 0 -x '/tests?/' lib || true
	mkdir -p .venv/source
	ln -sfn ../.. .venv/source/wfpipe
	touch $@
