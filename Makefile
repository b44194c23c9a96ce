# Everything works on a fresh machine with Python >= 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A second environment, to prove that the wheel stands by itself.
WHEEL_VENV := .venv-wheel
PIP := -m pip --disable-pip-version-check --quiet
# Two test processes on two cores: threads of their own would only wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# Proofs of their own targets may take longer than any test of `make test`.
UNLIMITED := --timeout 0 --override-ini faulthandler_timeout=0

.PHONY: help install test lint types unit interpreter runs binaries wheel demo demo-train demo-long weights selftest gpu-report bench kernels-report \
	bounds conformance-kernels kills plans quick-reference fuzz memory-spikes memory-training seeds clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP)  ## make .venv and install the project in it

$(STAMP): pyproject.toml constraints.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install --constraint constraints.txt --editable '.[dev,demo]'
	@touch $@

test: lint types unit interpreter wheel  ## lint, types, tests, and the wheel in an environment of its own

lint: $(STAMP)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy
	$(BIN)/mypy

unit: $(STAMP)  ## the tests, two processes at a time; those with a mark have targets of their own
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not binaries and not runs"

runs: $(STAMP)  ## whole runs: the demo, several processes, kills, signals (minutes)
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal -m "runs and not slow"

binaries: $(STAMP)  ## compile kernels for GPUs: registers, stack, instructions, and all that a run launches (minutes)
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal -m binaries

interpreter: $(STAMP)  ## the kernels in Triton's interpreter: a process of its own, which cannot compile
	TRITON_INTERPRET=1 $(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal tests/interpreter

conformance-kernels: $(STAMP)  ## the published numbers by the kernels in the interpreter: whole models, gradients (an hour)
	TRITON_INTERPRET=1 $(ONE_THREAD) $(BIN)/python -m pytest $(UNLIMITED) -n 2 --dist worksteal tests/conformance

wheel: $(STAMP)  ## build the wheel, install it elsewhere, run a command outside the checkout
	rm -rf dist build/lib build/bdist.*
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	rm -rf $(WHEEL_VENV)
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python $(PIP) install --constraint constraints.txt dist/*.whl
	cd / && $(CURDIR)/$(WHEEL_VENV)/bin/spikevrt plan --config demo > /dev/null
	cd / && $(CURDIR)/$(WHEEL_VENV)/bin/python -c "import spikevrt; spikevrt.Restorer.from_pretrained('tiny')"
	@echo "the wheel works outside the checkout"

demo: $(STAMP)  ## the whole job on two cores in three minutes: prepare, fine-tune, evaluate, deblur
	$(BIN)/python -m spikevrt.demo

demo-train: $(STAMP)  ## the same from nothing in ten minutes: train with and without spikes
	$(BIN)/python -m spikevrt.demo --from-scratch

demo-long: $(STAMP)  ## from nothing in an hour
	$(BIN)/python -m spikevrt.demo --from-scratch --minutes 60 --out demo-long

weights: $(STAMP)  ## train the weights that come with the package, and measure them (three hours; goes on where it stopped)
	$(BIN)/python $(PIP) install --constraint constraints.txt --editable '.[weights]'
	$(BIN)/python -m bench.weights

selftest: $(STAMP)  ## every kernel against float64 on this machine
	$(BIN)/python -m spikevrt.selftest

gpu-report: $(STAMP)  ## with a GPU, eight minutes: are the kernels right, how fast is what, in gpu_report/
	$(BIN)/python -m bench.gpu_report --out gpu_report

bench: $(STAMP)  ## time and memory by backend: bench.json, a table and bench.png (ten minutes)
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-quiet --benchmark-json bench.json
	$(BIN)/python -m bench.report bench.json

kernels-report: $(STAMP)  ## compile and count every kernel without a GPU: docs/kernels_report.md (an hour)
	$(ONE_THREAD) $(BIN)/python -m bench.kernels_report

bounds: $(STAMP)  ## predicted least time of a whole forward and step on every GPU (half an hour)
	$(ONE_THREAD) $(BIN)/python -m bench.bounds --config default --by-work --opts TRAIN.BATCH_SIZE=1

kills: $(STAMP)  ## 60 kills of a training, 20 of one process of two: each ends as if nothing had happened (15 minutes)
	SPIKEVRT_KILLS=60 SPIKEVRT_RANK_KILLS=20 $(ONE_THREAD) $(BIN)/python -m pytest $(UNLIMITED) -n 2 tests/training/test_kills.py
	$(ONE_THREAD) $(BIN)/python -m pytest $(UNLIMITED) -m slow tests/training/test_equal_processes.py

plans: $(STAMP)  ## 200 steps under three plans of memory, killed, resumed, in two processes: the same bits (an hour)
	SPIKEVRT_PLAN_STEPS=200 $(ONE_THREAD) $(BIN)/python -m pytest $(UNLIMITED) tests/training/test_planned_runs.py

quick-reference: $(STAMP)  ## docs/quick_reference*.md, memory predicted anew (half an hour)
	$(ONE_THREAD) $(BIN)/python -m bench.quick_reference

fuzz: $(STAMP)  ## mutated configurations, data files, checkpoints and logs: each is read right or refused in one line
	SPIKEVRT_FUZZ_CONFIGS=500 SPIKEVRT_FUZZ_FILES=500 SPIKEVRT_FUZZ_CHECKPOINTS=300 SPIKEVRT_FUZZ_LOGS=200 \
	$(ONE_THREAD) $(BIN)/python -m pytest $(UNLIMITED) -n 2 --dist worksteal tests/config/test_mutated.py \
	tests/data/test_damaged_files.py tests/data/test_written_elsewhere.py tests/training/test_mutated_checkpoints.py \
	tests/training/test_run_log.py

memory-spikes: $(STAMP)  ## anonymous memory while the voxels of a 2 GB recording are prepared
	$(BIN)/python -m bench.memory_spikes

memory-training: $(STAMP)  ## resident memory over 500 steps, and its slope
	$(BIN)/python -m bench.memory_training

seeds: $(STAMP)  ## three seeds of the demo on naive and sdpa, with and without spikes: table and curves (20 minutes)
	$(BIN)/python -m bench.seeds --out seeds

clean:  ## remove what the targets above made
	rm -rf $(VENV) $(WHEEL_VENV) build dist demo demo-long seeds bench.json bench.png *.egg-info .pytest_cache .mypy_cache .ruff_cache
