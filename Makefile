# Each target is thin; the plain commands stand below it. VENV may name another environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Sources of the environments: a changed pyproject.toml installs anew.
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev

.PHONY: help crawl test check bench bench-peers bench-scale bench-faults fuzz torture soak clean
help:
	@echo "make crawl                          install into $(VENV), crawl the bundled demo web"
	@echo "make crawl SEEDS=... CONTACT=...    crawl the real one (OPTIONS='--delay 2 -o my.db' for more)"
	@echo "make test                           install what the tests need, run them all"
	@echo "make check                          ruff, mypy --strict, floors, documentation"
	@echo "make fuzz                           what reads the web's bytes, fuzzed for 120 s each (SECONDS_EACH=600 for more)"
	@echo "make torture                        the suite's long forms, then 200 kills: more than an hour, needs strace"
	@echo "make soak                           520,000 pages in one run: does memory grow? half an hour, needs nginx, 3 GB"
	@echo "make bench                          how fast: ten minutes; benchmarks/README.md explains them all"
	@echo "make bench-peers                    beside other crawlers, on other webs: 20 minutes"
	@echo "make bench-scale                    with ten million queued URLs: 10 minutes and more, 4 GB"
	@echo "make bench-faults                   kills, hostile peers, real sites, bounds"

crawl: $(RUN)
ifdef SEEDS
	$(BIN)/crawler crawl $(SEEDS) $(if $(CONTACT),--contact '$(CONTACT)') $(OPTIONS)
else
	$(BIN)/crawler demo
endif

test: $(DEV)
	$(BIN)/python -m pytest -rs

check: $(DEV)
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_floors.py tests/test_packaging.py $(wildcard tests/test_docs.py)

SECONDS_EACH ?= 120
fuzz: $(DEV)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS_EACH)

torture: $(DEV)
	POOLCRAWL_LONG=1 SIMULATIONS=5000 $(BIN)/python -m pytest -rs
	$(BIN)/python -m benchmarks.killloop --kills 200 --full 0.1 --pinned 0.1 --syscall 0.1

soak: $(DEV)
	$(BIN)/python -m benchmarks.soak

bench bench-peers bench-scale: export BENCH_RESULTS = benchmarks/results
bench: $(DEV)
	-$(BIN)/python -m benchmarks.flat
	-$(BIN)/python -m benchmarks.latency
	-$(BIN)/python -m benchmarks.manyhosts
	-$(BIN)/python -m benchmarks.reader
	$(BIN)/python docs/generate.py

bench-peers: $(DEV)
	-$(BIN)/python -m benchmarks.peers
	-$(BIN)/python -m benchmarks.otherweb
	$(BIN)/python docs/generate.py

bench-scale: $(DEV)
	-$(BIN)/python -m benchmarks.scale
	$(BIN)/python docs/generate.py

bench-faults: $(DEV)
	$(BIN)/python -m benchmarks.hostile
	$(BIN)/python -m benchmarks.connections
	$(BIN)/python -m benchmarks.realsite
	$(BIN)/python -m benchmarks.bounded
	$(BIN)/python -m benchmarks.killloop
	$(BIN)/python -m benchmarks.killloop --delay 0.1

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUN): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(RUN)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
