# `make demo` and `make test` do all their own set-up. PYTHON= chooses the interpreter, TORCH_INDEX= torch's index.
#
# Two marks in .venv say what is installed: .ready what a user needs, .ready-dev the developers' tools as well.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
TORCH := $(shell grep '^torch==' constraints.txt)
USER_READY := .venv/.ready
DEV_READY := .venv/.ready-dev
BIN := .venv/bin
PIP := $(BIN)/pip install

.DEFAULT_GOAL := help
.PHONY: help demo test check audit slow mutants bench gpu docs notebooks laws reproduce

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(USER_READY) ## one scene in eight emotions: out/demo/index.html
	$(BIN)/emoscene demo --out out/demo

test: $(DEV_READY) ## the tests that need no network and no GPU, within five minutes
	$(BIN)/python -m pytest -m "not slow and not gpu and not network" -q -n auto --maxprocesses 8 --dist worksteal

check: $(DEV_READY) ## lint, format, types, unsafe calls, architecture
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src
	$(BIN)/bandit -q -c pyproject.toml -r src benchmarks
	$(BIN)/python -m pytest -q tests/test_architecture.py

audit: $(USER_READY) ## known vulnerabilities of the pinned versions (asks PyPI; fails where it does not answer for one)
	$(PIP) -q -c constraints.txt -e ".[audit]"
	$(BIN)/pip-audit --strict --disable-pip --no-deps -r constraints.txt

slow: $(DEV_READY) ## the expensive tests
	$(BIN)/python -m pytest -m "slow and not gpu and not network" -q

mutants: $(DEV_READY) ## small bugs by the hundred, and how many the tests find (hours)
	$(BIN)/python tests/mutants/run.py

bench: $(DEV_READY) ## seconds of an image and of a training step, beside diffusers' own
	$(BIN)/python -m benchmarks.pictures
	$(BIN)/python -m benchmarks.training steps --count 8
	$(BIN)/python -m benchmarks.training loader --number 118102 --batch 32 --turns 400 --warm 20

gpu: $(DEV_READY) ## Stable Diffusion 1.5's shape on this machine's GPU, within ten minutes: speed, memory, waits, equality
	$(BIN)/python -m benchmarks.gpu

docs: $(USER_READY) ## the documentation: out/docs/index.html
	$(PIP) -q -c constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build --strict --site-dir out/docs

notebooks: $(DEV_READY) ## the notebooks with their outputs, executed on the miniature
	$(BIN)/python notebooks/run.py

laws: $(USER_READY) ## seven published findings of diffusion control, measured on the miniature: out/laws (half an hour)
	$(BIN)/python -m emoscene_mini.laws --out out/laws

reproduce: $(USER_READY) ## weights like the miniature's, from nothing (hours; never run whole)
	$(BIN)/python -m emoscene_mini.build

# A CPU build of the pinned torch is taken where pip's own configuration offers one; otherwise a machine with a GPU takes
# the default index, and any other PyTorch's CPU index alone: nobody without a GPU downloads gigabytes of CUDA.
INDEX = $(or $(TORCH_INDEX),$(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu))

$(USER_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@if [ -z "$(TORCH_INDEX)" ] && $(PIP) -q --no-deps $(TORCH)+cpu 2>/dev/null; then echo "$(TORCH): pip's own CPU build"; \
	else $(PIP) --no-deps $(TORCH) $(addprefix --index-url ,$(INDEX)); fi
	$(PIP) -q -c constraints.txt -e ".[tune,web]"
	@touch $@

$(DEV_READY): $(USER_READY)
	$(PIP) -q -c constraints.txt -e ".[dev]"
	@touch $@
