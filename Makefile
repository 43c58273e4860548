# make run: the starter run, from nothing to its report.    make test: the same set-up, then the tests.
# make study: the study's data sets and networks; hours on a CPU, goes on where it was.
# make replicate: what the study published, recomputed (config/replication.yaml says from where).
# make test-peers: other libraries (`peers` in a config) for real; installs some 230 MB.
# make test-targets: files for microcontrollers and NPUs, run by their own runtimes and compilers; installs some 75 MB.
# make test-conformance: what each method makes of committed networks; EDGEPRESS_MIRROR=<folder> has Fashion-MNIST; minutes.
# make test-kill: a run killed at two dozen random moments; minutes.
# make test-cluster: the run through a private SLURM on this host; needs root, and slurm-wlm and munge of Debian.
# make test-browser: the report's pages in a browser; needs chromium and chromium-driver of Debian.
# make test-emulated: 8-bit files on a CPU without VNNI; needs qemu-user of Debian; minutes.
# make test-devices: networks as C on an emulated Cortex-M4, and 500 random ones under sanitizers; needs gcc,
# gcc-arm-none-eabi and qemu-system-arm of Debian; minutes.
# make docs: the site, into build/docs.
# make test-all: make test and make test-cluster side by side.
# make lint: what CI refuses.    make bench: the speed of what is ours, against copying memory and a matrix product.
# CONFIG=config/mine.yaml make run: another run.

PYTHON ?= python3
CONFIG ?= config/config.yaml
BIN := .venv/bin
EXTRAS := dev hardware energy deploy
# One process per CPU. A process takes whole files, whose tests share fixtures; the longest files come first.
PYTEST := $(BIN)/pytest --numprocesses logical --dist loadfile --no-loadscope-reorder
TESTS := tests/workflow tests/contract tests/unit tests/conformance

.PHONY: run study replicate test test-peers test-targets test-conformance test-kill test-cluster test-all test-browser test-emulated test-devices docs lint bench clean

run: .venv/installed
	$(BIN)/snakemake --cores all --configfile $(CONFIG)
	@run=$$(awk '$$1 == "run:" {gsub(/[\047\"]/, "", $$2); print $$2}' $(CONFIG)); cd results/$${run:-starter}/report && \
	for page in index replication; do test ! -e $$page.html || echo "The report is $$PWD/$$page.html"; done

study:
	$(MAKE) run CONFIG=config/study.yaml

replicate:
	$(MAKE) run CONFIG=config/replication.yaml

test: .venv/installed-dev
	$(PYTEST) $(TESTS)

test-peers: .venv/installed-dev .venv/installed-peers
	$(BIN)/pytest -ra tests/unit/test_peers.py

test-targets: .venv/installed-dev .venv/installed-npu
	$(BIN)/pytest -ra tests/unit/test_tflite.py tests/unit/test_vela.py tests/contract/test_targets.py

test-conformance: .venv/installed-dev
	$(BIN)/pytest --numprocesses logical --dist loadgroup -m "" -ra tests/conformance

test-kill: .venv/installed-dev
	$(BIN)/pytest -m kill

test-cluster: .venv/installed-dev .venv/installed-cluster
	$(BIN)/pytest -ra tests/cluster

test-browser: .venv/installed-dev
	$(BIN)/pytest -ra tests/browser

test-emulated: .venv/installed-dev
	$(BIN)/pytest -ra -s tests/emulated

test-devices: .venv/installed-dev
	$(BIN)/pytest -q tests/devices
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.devices.fuzz $(or $(FUZZ),500)

docs: .venv/installed .venv/installed-docs
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet --jobs auto docs build/docs
	@echo "The site is $$PWD/build/docs/index.html"

test-all: .venv/installed-dev .venv/installed-cluster
	$(PYTEST) -ra tests/cluster $(TESTS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

bench: .venv/installed-dev
	$(BIN)/python tests/bench/bench_quantizers.py
	$(BIN)/python tests/bench/bench_training.py
	$(BIN)/python tests/bench/bench_evaluation.py
	$(BIN)/python tests/bench/bench_reconstruction.py

# The stamps say what was installed: a second make installs nothing, a changed lock does.
.venv/installed: envs/requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("edgepress needs Python 3.11 or later; name one: make PYTHON=python3.12 run")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement envs/requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/installed-dev: .venv/installed $(EXTRAS:%=envs/requirements-%.lock)
	$(BIN)/python -m pip install --quiet $(EXTRAS:%=--requirement envs/requirements-%.lock)
	touch $@

.venv/installed-cluster .venv/installed-docs: .venv/installed-%: .venv/installed envs/requirements-%.lock
	$(BIN)/python -m pip install --quiet --requirement envs/requirements-$*.lock
	touch $@

.venv/installed-peers .venv/installed-npu: .venv/installed-%: .venv/installed envs/requirements-%.lock
	$(BIN)/python -m pip install --quiet --no-deps --requirement envs/requirements-$*.lock
	touch $@

clean:
	rm -rf .venv .snakemake results/starter checkpoints/starter data/prepared logs
