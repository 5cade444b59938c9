# Everything a checkout needs. The first call creates .venv; later ones start at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEED_GIB := 9
TYPESCRIPT := 7.0.2
TSC := .npm/node_modules/.bin/tsc

.PHONY: demo test interop homeassistant console fleet endurance check scripts clean setup

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "facegate needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@free=$$(df -Pk . | awk 'NR==2 {print int($$4/1048576)}'); \
	  if [ ! -d $(VENV) ] && [ $$free -lt $(NEED_GIB) ]; then \
	    echo "only $$free GiB free here, setting up needs about $(NEED_GIB) GiB (PyTorch is 5 of them)"; exit 2; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,dlib]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/facegate demo --save demo-out

test: check
	@$(BIN)/python -m pytest

# Against GStreamer's RTSP server and Mosquitto, where they are installed; says which packages are missing elsewhere.
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
