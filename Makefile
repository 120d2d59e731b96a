# Works in a fresh clone: every target sets up .venv by itself. Simulators, models and other
# fetched data live in the user's cache, outside this folder.

PYTHON ?= python3
JOBS ?= 2

BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-more lint bench rtl notebooks clean

demo: $(READY)
	$(BIN)/oleaster demo

# One thread each: parallel tests that all start BLAS threads only wait for each other.
test: $(READY)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations=20

test-more: $(READY)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m more

# mypy looks at an installed copy, as a user's mypy would: the folders hw/, sim/ and models/ are
# oleaster.hw, oleaster.sim and oleaster.models only there.
lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	rm -rf build/lib build/typecheck
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -q --no-deps --target build/typecheck .
	MYPYPATH=build/typecheck $(BIN)/mypy -p oleaster

bench: $(READY)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -q -e '.[bench]'
	for bench in benchmarks/*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

rtl: $(READY)
	$(BIN)/python -m oleaster.hw.reference rtl_out

# Runs each from top to bottom and keeps what it prints and draws.
notebooks: $(READY)
	$(BIN)/python notebooks/run.py

# Leaves .venv and the user's cache alone.
clean:
	rm -rf build dist sim_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The environment variable, unlike -c, also holds for the isolated build of our own package.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -q -e '.[models,plots,onnx,nerf,video,train,synth,explore,report,waves,dev]'
	touch $@
