# `make demo` and `make test` do all their set-up by themselves, in .venv, with pinned versions (constraints.txt).

# Another Python: make PYTHON=python3.14 ...; a second environment beside the first: make VENV=.venv-3.14 ...
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo quick test test-all thorough check lint types imports unit e2e kills stops pgm mutants numerics wheel test-newest test-oldest constraints crash bench stubs clean

help:
	@echo "make demo    run a federation on bundled data and show what it made"
	@echo "make quick   what has changed since the main branch: its lint, its tests and laws, in a minute"
	@echo "make check   lint, types, import rules"
	@echo "make test    that, and the tests with a part of their examples (before each commit; some 15 minutes)"
	@echo "make test-all   that with the slow tests, the mutants, the wheel, whole federations (what CI runs)"
	@echo "make thorough   all tests with all examples and draws (at night)"
	@echo "make e2e     real federations: processes, TLS, keys, kill -9, a network that fails (part of make test-all)"
	@echo "make kills   every process of a federation killed in the middle of a study, $(TIMES) times each (at night)"
	@echo "make stops   institutions stopped and killed while their answer is on the way, and lines that are cut (at night)"
	@echo "make pgm     installs the extra pgm (some 400 MB) and runs its tests, which make test skips without it"
	@echo "make mutants plants privacy bugs, each of which one named test must find"
	@echo "make numerics  the numeric laws under other kernels and numbers of threads (some 10 minutes)"
	@echo "make wheel   builds the sdist and the wheel, installs it outside the repository, runs its demo (part of make test-all)"
	@echo "make test-newest, make test-oldest   quick tests, demo and a deployed story with the newest of everything, nightly Flower"
	@echo "             included, and with the lowest versions that pyproject.toml allows (each downloads gigabytes, once)"
	@echo "make constraints   constraints.txt anew, with what is current"
	@echo "make crash   kill custodians and coordinators at random times, $(KILLS) times (some 15 minutes)"
	@echo "make bench   the benchmarks: utility and speed, as tables and JSON"

$(BIN)/python:
	@sh tools/venv.sh $(VENV) '$(PYTHON)'

# An environment without pip is one whose making failed half-way; made again, it becomes whole.
$(BIN)/pip: | $(BIN)/python
	@test -x $@ || sh tools/venv.sh $(VENV) '$(PYTHON)'

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,simulation]"
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/cohortium demo --out cohortium-demo

# What has changed, and its laws: $(SINCE) names another commit than where this branch left the main one.
SINCE ?=
quick: $(VENV)/.tested
	@$(BIN)/python tools/quick.py $(SINCE:%=--since %)

# One step after the other, whatever became of those before; a report of all comes at the end.
STEPS = $(BIN)/python tools/steps.py --what "make $@" --make "$(MAKE) --no-print-directory
test: $(VENV)/.tested
	@$(STEPS)" lint,types,imports unit

# The same steps with the slow tests, and what else there is.
test-all: $(VENV)/.tested
	@$(STEPS) SLOW=1" lint,types,imports unit mutants wheel,e2e

# At night: what a part of the examples does not find.
thorough:
	@$(MAKE) --no-print-directory unit THOROUGH=1

check: lint types imports

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tested
	$(BIN)/mypy

imports: $(VENV)/.tested
	$(BIN)/lint-imports

# SLOW=1: with the tests that take long. THOROUGH=1: with all examples of the laws as well (tests/support/effort.py).
SLOW ?=
THOROUGH ?=
export THOROUGH
WORKERS ?= 2
# One thread each, for as many processes as processors.
unit: $(VENV)/.tested
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:cacheprovider -n $(WORKERS) --dist worksteal $(if $(SLOW)$(THOROUGH),,-m "not slow")

# Two federations beside each other: their processes wait for one another half of the time.
e2e: $(VENV)/.tested
	$(BIN)/python -m pytest -p no:cacheprovider -n 2 --dist worksteal tests/e2e

# At night: every kill must be survived every time, with the budget exact.
TIMES ?= 20
kills: $(VENV)/.tested
	$(BIN)/python tests/e2e/starting.py
	$(BIN)/python tests/e2e/kills.py --times $(TIMES)

# At night: what it costs a study that an institution is stopped while it answers; a table, and stops.json.
stops: $(VENV)/.tested
	$(BIN)/python tests/e2e/stops.py

pgm: $(VENV)/.tested
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[pgm]"
	$(BIN)/python -m pytest tests/server/generators/test_pgm.py tests/contracts/test_generators.py -k pgm

mutants: $(VENV)/.tested
	$(BIN)/python tests/mutants

numerics: $(VENV)/.tested
	$(BIN)/python tools/numerics.py

# PYTHONS: --python PATH names another interpreter, --keep uses an environment that is already there.
PYTHONS ?=
wheel: $(VENV)/.installed
	$(BIN)/python tools/bounds.py wheel

test-newest test-oldest: $(VENV)/.installed
	$(BIN)/python tools/bounds.py $(@:test-%=%) $(PYTHONS)

constraints: $(VENV)/.installed
	$(BIN)/python tools/bounds.py constraints

# At night: processes killed at random times, at least 500 of them. Interrupted, it goes on where it stopped.
KILLS ?= 500
crash: $(VENV)/.tested
	$(BIN)/python tests/crash/random_kills.py --kills $(KILLS)

bench: $(VENV)/.tested
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/commands.py
	$(BIN)/python benchmarks/refusals.py
	$(BIN)/python benchmarks/masking.py
	$(BIN)/python benchmarks/round_trip.py
	$(BIN)/python benchmarks/custodian.py
	$(BIN)/python benchmarks/institutions.py
	$(BIN)/python benchmarks/utility.py --again
	-$(BIN)/python benchmarks/small.py
	-$(BIN)/python benchmarks/histories.py

# Generated code works with its own version of protobuf or a later one below the next but one, and with that grpcio or a later one.
STUBS := .stubs
stubs:
	@sh tools/venv.sh $(STUBS) '$(PYTHON)'
	$(STUBS)/bin/python -m pip install --quiet --disable-pip-version-check grpcio-tools==1.76.0 mypy-protobuf==5.1.0 "protobuf<7"
	cd client && PATH="$(CURDIR)/$(STUBS)/bin:$$PATH" python -m grpc_tools.protoc -I . --python_out=. --grpc_python_out=. \
		--mypy_out=quiet:. --mypy_grpc_out=quiet:. cohortium_client/protocol/custodian.proto
	rm -rf $(STUBS)

clean:
	rm -rf $(VENV) $(VENV)-newest $(VENV)-oldest cohortium-demo .mypy_cache .ruff_cache .pytest_cache
