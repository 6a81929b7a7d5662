# make demo    a TLS echo server and its clients, told line by line
# make test    the tests; PYTEST_ARGS="-k name -x" goes to pytest
# make test-plain   the tests of sockets and what stands on them once more, with libevent's own reading and writing
# make check   ruff and mypy
# make bench   pylibevent beside its peers: docs/benchmarks.md; BENCH_ARGS="--quick --only tcp" prints only
#
# Each sets up what it needs: system packages (as root on Debian; otherwise it says which), .venv, the extension.
# The files that say what is done stand in .venv too, so removing .venv starts anew.

PYTHON = python3
VENV = .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
PYTEST_ARGS =
# Many tests wait for a timer, so more processes than cores. PROCESSES=0 runs all in one.
PROCESSES = 4
BENCH_ARGS = --docs docs
# What compares both itself isn't among them.
KINDS = bufferevent filter layers lifetime listener max_single monkey pair ratelimit regress tls
PLAIN = $(filter-out %_relay.py %_accuracy.py %_clock.py, $(foreach kind, $(KINDS), $(wildcard tests/test_$(kind)*.py)))

RECIPE = build_ffi.py setup.py pyproject.toml
SOURCES = $(wildcard csrc/*.c csrc/*.h)

.NOTPARALLEL: # apt and pip lock each other out
.PHONY: demo test test-plain check bench build clean system system-test

demo: build $(VENV)/demo.txt
	$(VENV)/bin/python examples/demo.py

test: system-test build $(VENV)/test.txt
	$(VENV)/bin/python -X dev -W error -m pytest -n $(PROCESSES) $(PYTEST_ARGS)

test-plain: system-test build $(VENV)/test.txt
	$(VENV)/bin/python -W error -m pytest -n $(PROCESSES) --plain-io $(PYTEST_ARGS) $(PLAIN)

check: build $(VENV)/check.txt
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

bench: build $(VENV)/bench.txt
	$(VENV)/bin/python -m benchmarks $(BENCH_ARGS)

build: $(VENV)/built

system:
	@.ci/system-packages $(PYTHON)

system-test:
	@.ci/system-packages $(PYTHON) test

# Order-only: the look at the system is always taken, and nothing is built again for it.
$(VENV)/bin/python: | system
	$(PYTHON) -m venv $(VENV)

# Lists of what pyproject.toml requires, written when it is installed.
$(VENV)/%.txt: pyproject.toml .ci/requirements.py | $(VENV)/bin/python
	@echo "installing what is needed to $*"
	@$(VENV)/bin/python .ci/requirements.py $* > $@.new
	@$(PIP) install -r $@.new
	@mv $@.new $@

$(VENV)/built: $(RECIPE) $(SOURCES) $(VENV)/build.txt | $(VENV)/bin/python
	@echo "building the extension"
	@$(PIP) install --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) build dist pylibevent.egg-info pylibevent/_libevent.c pylibevent/_libevent.*so
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name '*.o' -delete
