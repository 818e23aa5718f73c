# Targets: demo, test, test-pythons, lint, format, lock, clean. Each sets the
# environment up first. Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
PYTEST_OPTIONS ?= --numprocesses=auto --dist=loadfile --no-loadscope-reorder

# What test-pythons runs the tests on, each with an environment of its own.
PYTHONS := 3.11 3.12 3.13

BIN := $(VENV)/bin
# Newer than the lock file once everything in it is installed.
READY := $(VENV)/ready

.PHONY: demo test test-pythons lint format lock clean

demo: $(READY)
	$(BIN)/python main.py --config=configs/digits_lt.py --workdir=runs/demo

test: $(READY)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

test-pythons:
	@missing=; for version in $(PYTHONS); do command -v python$$version >/dev/null || \
	  missing="$$missing python$$version"; done; test -z "$$missing" || \
	  { echo "Not on PATH:$$missing; expected each of $(PYTHONS:%=python%)." >&2; \
	    exit 1; }
	@for version in $(PYTHONS); do \
	  echo "Python $$version:"; \
	  $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	done

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# One lock for every platform and for Python 3.11 to 3.13.
lock: $(READY)
	$(BIN)/uv pip compile --universal --generate-hashes --upgrade \
	  --python-version 3.11 --no-python-downloads --no-annotate \
	  --custom-compile-command "make lock" --quiet \
	  --output-file requirements.lock pyproject.toml --extra train --extra dev

clean:
	rm -rf .venv .venv-3.* .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info

$(VENV): $(READY)

# The loop turns pip's lines into one dot for each package; a failed
# installation leaves no $(READY), and that fails the target.
$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "blt_jax needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	    "Name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@printf 'Installing %s packages into $(VENV), some minutes: ' \
	  "$$(grep -c '==' requirements.lock)"
	@{ $(BIN)/python -m pip install --disable-pip-version-check \
	    --require-hashes --requirement requirements.lock && touch $@; } | \
	  while read -r word rest; do case "$$word" in \
	    Collecting) printf '.' ;; \
	    Installing) printf ' unpacking' ;; \
	  esac; done; echo; test -f $@
