# Everything runs in an environment that the first call makes: .venv, from the versions pinned in constraints.txt.

PYTHON ?= python3
# `make serve TORCH=cpu` installs torch without CUDA.
TORCH ?=
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# First and alone: pip would ask an extra index for each package.
INSTALL_TORCH = $(if $(TORCH),$(PIP) --retries 2 --no-deps --index-url https://download.pytorch.org/whl/$(TORCH) torch \
	|| echo "no torch from download.pytorch.org/whl/$(TORCH): the build for all machines is installed")
VENV := .venv
BIN := $(VENV)/bin
GLTF_VALIDATOR := 2.0.0-dev.3.10
AXE_CORE := 4.14.1
PMNDRS_ASSETS := 1.7.0
NO_TESTS := 5

# Idle threads of torch and numpy sleep instead of spinning: trackers, renderers and fits share few cores.
export OMP_WAIT_POLICY := PASSIVE
export OPENBLAS_NUM_THREADS := 1

.PHONY: serve test lint lint-types lint-rest clean

serve: $(VENV)/.installed
	$(BIN)/fitme serve $(ARGS)

# Browsers draw by software on both cores; all other tests run beside each other.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not browser" $(ARGS) || [ $$? = $(NO_TESTS) ]
	$(BIN)/python -m pytest -m browser $(ARGS) || [ $$? = $(NO_TESTS) ]

# `make -j2 lint` checks types beside the rest.
lint: lint-types lint-rest

lint-types: $(VENV)/.installed-dev
	$(BIN)/mypy

lint-rest: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL_TORCH)
	$(PIP) --editable .
	touch $@

# All at once, and without compiling the tenth part of the modules that is ever imported.
$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL_TORCH)
	$(PIP) --no-compile --editable '.[dev]'
	if command -v npm >/dev/null; then npm install --silent --no-save --no-audit --no-fund --prefix $(VENV) gltf-validator@$(GLTF_VALIDATOR) axe-core@$(AXE_CORE) @pmndrs/assets@$(PMNDRS_ASSETS); fi
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV)
