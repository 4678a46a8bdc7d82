# make run     a working server on 127.0.0.1:2525, kept in ./var
# make test    every test; installs what it needs
# make retest  what failed in the last run of the tests once more, alone, and named: at most five
# make check   style, types, import rules
# make bench   the duels against other servers, written to docs/benchmarks.md
# make docs    the generated reference, and a check of the links
# make fuzz    ten minutes of octets from strangers against every reader
# make pure    back to plain Python, for those who edit what `make setup` compiles (UPESI_PURE=1 leaves compiling out)
# make lock    rewrite requirements.lock from pyproject.toml
BIN := .venv/bin
ARGS ?=
# Many tests wait for servers that they started: twice as many processes as there are processors (and no more than the memory of most bears).
# By files, in the order of their names: the long ones are not last, and what a file's tests share is made once.
WORKERS ?= $(shell echo $$((2 * $$(nproc) < 16 ? 2 * $$(nproc) : 16)))

.PHONY: pure run test retest test-crash check bench docs setup lock help fuzz
help:
	@sed -n 's/^# make /  make /p' Makefile

setup:
	@bash scripts/setup.sh

pure:
	@$(BIN)/python scripts/compile.py --remove

setup-tests:
	@bash scripts/setup.sh tests

run: setup
	@$(BIN)/upesi serve $(ARGS)

test: setup-tests
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cache-clear $(ARGS)

# Names what is unsteady instead of hiding it: a test that passes here, alone, failed for its neighbours' sake, and is a fault to mend
retest: setup-tests
	$(BIN)/python scripts/retest.py $(ARGS)

test-crash: setup-tests
	$(BIN)/python -m pytest -q -m crash tests/crash tests/integration $(ARGS)

check: setup
	$(BIN)/ruff check src tests bench scripts
	$(BIN)/ruff format --check src tests bench scripts
	$(BIN)/mypy
	$(BIN)/lint-imports

# atheris is needed here only, and is large
fuzz: setup-tests
	@$(BIN)/uv pip install -q --python $(BIN)/python "atheris>=3"
	$(BIN)/python -m tests.fuzz $(ARGS)

bench: setup-tests
	$(BIN)/python -m bench $(ARGS)

docs: setup
	$(BIN)/python scripts/docs.py

lock: setup
	$(BIN)/uv pip compile -q --generate-hashes --no-header --group dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --generate-hashes --no-header -c requirements.lock --extra ldap pyproject.toml -o requirements-ldap.lock
