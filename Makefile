# Everything a fresh machine needs to see Flashover work. Needs make, Python 3.11 or newer, and package registries.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test check explore bench

export OMP_NUM_THREADS := 1

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## a virtual environment in .venv with Flashover, its engine and its tests' tools (demo, test do it themselves)
	@bash .ci/setup

demo: setup  ## the first incident end to end, three to five minutes: replay, collect, investigate, print
	@.venv/bin/flashover demo

test: setup  ## lint, types, the rooms' contracts and every test
	@bash .ci/parts
	@PATH="$(CURDIR)/.venv/parts/usr/bin:$$PATH" .venv/bin/python -m pytest -n auto --dist loadfile --durations=10

check: setup  ## lint, types and the rooms' contracts alone
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

explore: setup  ## every property again, with examples that no run has tried
	@.venv/bin/python -m pytest -m hypothesis --hypothesis-profile=explore -n auto --dist loadfile

bench: setup  ## what it costs: every script in tests/bench
	@shopt -s nullglob; scripts=(tests/bench/*.py); \
	if [ $${#scripts[@]} -eq 0 ]; then echo "bench: tests/bench holds no script yet"; fi; \
	for script in "$${scripts[@]}"; do echo "== $$script"; .venv/bin/python "$$script" || exit; done
