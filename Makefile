# make demo   sets up .venv once, then shows what Pico does, on one page, beside the truth
# make test   sets up .venv once, then everything the checks do
# make conformance   compares with Diffusers, Transformers and others; DEEP=1 draws 500 shapes a case
# make map    writes docs/map.md from the first line of every file

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup gl browser demo test conformance fix map clean

BIN := .venv/bin
READY := .venv/.ready
# Real recordings are not ours to ship; a clone that has them beside it tests with them too.
ifneq ($(wildcard ../shared/data/real),)
export ARMILLARY_REAL_DATA ?= $(abspath ../shared/data/real)
endif
GL_PACKAGES := libegl1 libegl-mesa0 libgl1-mesa-dri
TRY_GL := $(BIN)/python -c 'import mujoco; context = mujoco.GLContext(64, 64); context.make_current(); context.free()'

ifeq ($(shell uname -s),Linux)
export MUJOCO_GL ?= egl
endif

help:
	@sed -n 's/^# //p' Makefile

setup: $(READY) gl

$(READY): pyproject.toml constraints.txt
	@if ! test -x $(BIN)/python; then \
	  for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$python"; break; fi; \
	  done; \
	  if test -z "$${found:-}"; then echo "Python 3.11 or newer is needed and was not found: install it, or say make PYTHON=/path/to/python3." >&2; exit 2; fi; \
	  echo "Making .venv with $$("$$found" --version)"; \
	  "$$found" -m venv .venv >/dev/null || { rm -rf .venv; echo "$$found cannot make virtual environments: install its venv package (Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 2; }; \
	fi
	@echo "Installing what Armillary needs into .venv (once; minutes, mostly torch)"
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev,hf]' \
	  | sed -un -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^Installing collected packages.*/  unpacking/p'
	@touch $(READY)

gl: $(READY)
	@if ! $(TRY_GL) >/dev/null 2>&1; then \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    echo "Installing $(GL_PACKAGES): MuJoCo draws with them"; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(GL_PACKAGES); } >/dev/null 2>&1 || true; \
	  fi; \
	  $(TRY_GL) >/dev/null 2>&1 || { echo "MuJoCo cannot draw without a screen here: install $(GL_PACKAGES) (Debian's names; as root: apt-get install $(GL_PACKAGES))." >&2; exit 2; }; \
	fi

# The studio is driven as people drive it; where the browser cannot be had, those tests say that they were skipped.
browser:
	@if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	  echo "Installing chromium: the studio's tests drive it"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 || true; \
	fi

demo: setup
	@$(BIN)/armillary demo

test: setup browser
	@echo "format"; $(BIN)/ruff format --check --quiet .
	@echo "lint"; $(BIN)/ruff check --quiet .
	@echo "types"; $(BIN)/mypy --no-error-summary
	@echo "tests and conformance"; OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile tests conformance

conformance: setup
	@OMP_NUM_THREADS=1 DEEP=$(DEEP) $(BIN)/pytest -q -n 2 --dist loadfile conformance

fix: $(READY)
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

map: $(READY)
	@$(BIN)/python docs/make_map.py

clean:
	rm -rf .venv build .pytest_cache .ruff_cache .mypy_cache
