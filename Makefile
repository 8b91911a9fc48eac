# make demo    predict the migration of a traced guest and compare with real ones (needs Python, make)
# make test    lint, types, import arrows and all tests but the slow ones (installs QEMU where it can)
# make check   the same without the tests that start QEMU
# make notebooks   run the notebooks, as make check does too
# make fuzz    run the property tests on examples that no run saw before, then damaged inputs of every kind for
#              SECONDS (600): before a release. It prints its seed; SEED=N repeats it. Each counterexample becomes
#              an @example or a kept case of its test. The other targets try the same examples in every run
# make bench   time engines, rivals, sweeps, replay, collectors and processes into benchmarks/results.json
# make golden   write the golden predictions anew and print what moved (tests/golden)
# make test-slow, make format, make qemu, make linux-guest, make clean

PYTHON ?= python3
BIN := .venv/bin
# expanded when a recipe runs, so after `qemu` has made the file
export MIGSIM_QEMU_10 ?= $(shell cat build/qemu-10/command 2>/dev/null)
export MIGSIM_QEMU_11 ?= $(shell cat build/qemu-11/command 2>/dev/null)

# what the demo shows: any trace, profile and records of that guest's real migrations
DEMO_TRACE ?= traces/hot-4g.trace
DEMO_HOST ?= validation/data/hosts/kvm-10.0-a.json
DEMO_RECORDS ?= $(wildcard validation/data/records/kvm-hot-4g-2gbps-300ms-q100-*.json)

.PHONY: demo test check golden fuzz lint notebooks live test-slow bench format qemu linux-guest clean
.DELETE_ON_ERROR:

demo: .venv/.installed
	$(BIN)/python -m validation.demo $(DEMO_TRACE) --host $(DEMO_HOST) -o build/demo.png $(DEMO_RECORDS)

test: check live

check: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --tb=native -m "not live and not slow"
	$(MAKE) --no-print-directory notebooks

golden: .venv/.installed-dev
	$(BIN)/python -m tests.golden

fuzz: SECONDS ?= 600
fuzz: SEED := $(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' '))
fuzz: .venv/.installed-dev
	@echo "make fuzz SEED=$(SEED) repeats this run"
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --tb=native --hypothesis-profile=fuzz --hypothesis-seed=$(SEED) \
	  -m "hypothesis and not live and not slow"
	$(BIN)/python -W ignore -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)

notebooks: .venv/.installed-dev
	$(BIN)/python -m pytest -q --nbmake --nbmake-timeout=180 notebooks/

lint: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# One after the other: two pairs of QEMUs on two cores disturb each other. A skipped test is a failure here.
live: .venv/.installed-dev qemu linux-guest
	MIGSIM_LIVE=1 $(BIN)/python -m pytest -q --tb=native -m "live and not slow"

test-slow: .venv/.installed-dev qemu linux-guest
	MIGSIM_LIVE=1 $(BIN)/python -m pytest -q -m slow

bench: .venv/.installed
	$(BIN)/python -m benchmarks

format: .venv/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

qemu:
	scripts/install_qemu.sh

# kept while it is whole and of today's sources
linux-guest: .venv/.installed-dev qemu
	scripts/install_linux_guest.sh
	$(BIN)/migsim lab build-guest

clean:
	rm -rf build dist .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "migsim needs Python 3.11 or newer; say which with 'make PYTHON=python3.12 ...'." >&2; exit 3; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@ .venv/.installed
