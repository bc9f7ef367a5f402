# Two commands on a bare machine do all the set-up: `make demo` and `make test`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SETUP := VENV=$(VENV) PYTHON=$(PYTHON) scripts/setup.sh

# Workers of the test suite. Those of the page wait for a browser half of the time, so on two cores three are faster.
WORKERS ?= 3

.PHONY: demo test lint bench setup clean

demo: $(VENV)/.ready
	$(BIN)/idseg demo

test: $(VENV)/.ready-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/mypy

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/identity.py
	$(BIN)/python benchmarks/masks.py
	$(BIN)/python benchmarks/photo.py
	$(BIN)/python benchmarks/media.py
	$(BIN)/python benchmarks/privacy.py
	$(BIN)/python benchmarks/privacy_audit.py
	$(BIN)/python benchmarks/overlaps.py
	$(BIN)/python benchmarks/humans.py
	$(BIN)/python benchmarks/parts.py
	$(BIN)/python benchmarks/possession.py
	$(BIN)/python benchmarks/things.py
	$(BIN)/python benchmarks/clips.py
	$(BIN)/python benchmarks/few_shot.py
	$(BIN)/python benchmarks/cuts.py
	$(BIN)/python benchmarks/video.py --parts identity assignment looking masks speed

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml requirements.txt scripts/setup.sh
	$(SETUP)
	@touch $@

$(VENV)/.ready-dev: pyproject.toml requirements.txt scripts/setup.sh
	$(SETUP) --dev
	@touch $@ $(VENV)/.ready

clean:
	rm -rf build *.egg-info .pytest_cache .ruff_cache
