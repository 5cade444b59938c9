# Each target installs what it needs: 'make demo' the core alone, in a minute; every other one everything, with PyTorch.
# The first call creates .venv; later ones start at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
READY := $(VENV)/.ready
TYPESCRIPT := 7.0.2
TSC := .npm/node_modules/.bin/tsc

.PHONY: demo test explore graph image interop homeassistant console fleet endurance check scripts clean setup

setup: $(READY)

define check
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "facegate needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@free=$$(df -Pk . | awk 'NR==2 {print int($$4/1048576)}'); \
	  if [ ! -e $@ ] && [ $$free -lt $(1) ]; then \
	    echo "only $$free GiB free here, setting up needs about $(1) GiB"; exit 2; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
endef
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# The demo takes only photographs from insightface, and nothing that insightface needs.
$(CORE): pyproject.toml constraints.txt
	$(call check,2)
	@echo "installing the core into $(VENV) (a minute the first time) ..."
	@$(INSTALL) -e .
	@$(BIN)/python -c 'import insightface' 2>/dev/null || $(INSTALL) --no-deps insightface
	@touch $(CORE)

$(READY): pyproject.toml constraints.txt
	$(call check,9)
	@echo "installing everything into $(VENV) (a few minutes the first time; PyTorch is 5 GiB) ..."
	@$(INSTALL) -e '.[dev]'
	@touch $(CORE) $(READY)

demo: $(CORE)
	@$(BIN)/facegate demo --save demo-out

test: check
	@$(BIN)/python -m pytest

# Property tests with many random examples, which "make test" repeats with the same ones.
explore: $(READY)
	@$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=explore -q

# The built-in model's graph without its weights, after a change of the network or of what it is scored by.
graph: $(READY)
	@$(BIN)/python -c "from pathlib import Path; from facegate.scoring.engine import load_scorer; \
	  from facegate.scoring.export import write_structure; \
	  write_structure(load_scorer(device='cpu', backend='torch').reading, Path('scoring/models'))"

# The container image, built with buildah and tried; says what is missing where it cannot be.
image:
	@deploy/image.sh

# Against servers, devices and brokers of others, where they are installed; says which packages are missing elsewhere.
interop: $(READY)
	@$(BIN)/python -m pytest -m interop -n 0 -v -s -rs tests/interop

# Against Home Assistant with Mosquitto, in a folder of its own; says what is missing where it cannot be installed.
homeassistant: $(READY)
	@tests/homeassistant/install.sh runs/homeassistant || { echo "not run against Home Assistant"; exit 0; }; \
	  $(BIN)/python -m pytest -m homeassistant -n 0 -q -s -rs tests/homeassistant

# Whole consoles: their API, what becomes of them when things die, and journeys in a browser where Chromium is installed.
console: $(READY)
	@$(BIN)/python -m pytest -m console -rs tests/console

# Three NATS servers, four gates, twelve cameras: everything that can fail does, and each camera has one gate again.
fleet: $(READY)
	@$(BIN)/python -m pytest -m fleet -n 0 -s -q tests/fleet

# A worker, a console, 200 changes of the gallery and a busy store, each of them killed again and again: ten minutes.
# Then minutes of people in view while workers and consoles die; FACEGATE_KILLS=30 for the whole.
endurance: $(READY)
	@$(BIN)/python -m benchmarks.endurance
	@$(BIN)/python -m pytest -m endurance -n 0 -s -q --timeout 1800 tests/endurance

check: $(READY) scripts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_structure.py tests/test_page_types.py

# The pages' JavaScript has no build step; TypeScript only reads it. It lives in .npm/, apart from Python's packages.
scripts:
	@if ! command -v npm >/dev/null; then echo "no npm here: the pages' JavaScript was not checked"; \
	  elif ! $(TSC) --version 2>/dev/null | grep -qxF "Version $(TYPESCRIPT)" \
	    && ! npm install --prefix .npm --no-save --no-audit --no-fund --silent typescript@$(TYPESCRIPT); then \
	    echo "TypeScript $(TYPESCRIPT) cannot be installed here: the pages' JavaScript was not checked"; \
	  else $(TSC) --noEmit; fi

clean:
	rm -rf $(VENV) .npm demo-out dist .pytest_cache .mypy_cache .ruff_cache
