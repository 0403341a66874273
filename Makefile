# `make` or `make help` lists what there is to do.
.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
PORT := 8000
ARGS :=
export LOCAL := on

# The first of these that is Python 3.11, 3.12 or 3.13. Another one: make run PYTHON=/path/to/it
PYTHONS := python3 python3.13 python3.12 python3.11
RIGHT_PYTHON = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

PIP = $(BIN)/python -m pip --disable-pip-version-check
LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-emit-index-url --no-header --quiet
# What production must set, so that its checks can be run: values for nothing else.
PRODUCTION = LOCAL=off DEBUG=off PUBLIC_URL=https://mail.example.com \
	SECRET_KEY=only-for-the-checks-W2uS0Qm4nH8rTz6xYb1cVd5kJf3gLp7a \
	TOKEN_KEYS=only-for-the-checks-token ADDRESS_KEY=only-for-the-checks-address \
	POSTAL_ADDRESS=nowhere OPERATORS=ops@example.com ALERT_FROM=alerts@example.com \
	ENCRYPTION_KEYS=b25seS1mb3ItbWFrZS1jaGVjay1uZXZlci1pbi11c2U=
# mypy reads the settings and connects to nothing.
NO_SERVERS = DATABASE_URL=postgresql:///not-needed REDIS_URL=unix:///not-needed

# A virtual environment that was not finished is made again.
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.local ## Run everything on this machine: web, workers, beat, sandboxed providers (PORT=8000)
	@$(BIN)/python manage.py run --port $(PORT) $(ARGS)

.PHONY: demo
demo: $(VENV)/.local ## Import people, send them a campaign through two sandboxed providers, show the report
	@$(BIN)/python manage.py demo $(ARGS)

.PHONY: test
test: $(VENV)/.dev ## Run the tests (ARGS="-k import" for some)
	$(BIN)/python -m pytest -n 2 $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## Check style, types, import rules, migrations, templates, settings (no tests)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING
	$(BIN)/lint-imports
	find . -path './.*' -prune -o -path ./var -prune -o -path '*/templates/*.html' -print0 \
		| xargs -0 $(BIN)/djade --check --target-version 5.2
	$(NO_SERVERS) $(BIN)/mypy .

.PHONY: bench
bench: $(VENV)/.dev ## Measure how fast it is, some 15 minutes (ARGS=--quick: two)
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: lock
lock: | $(VENV)/bin/python ## Lock what pyproject.toml asks for (ARGS=--upgrade for the newest versions)
	@test -x $(BIN)/uv || $(PIP) install --quiet uv
	$(LOCK) $(ARGS) -o requirements-dev.txt --extra local --extra dev
	$(LOCK) $(ARGS) -o requirements-local.txt --extra local -c requirements-dev.txt
	$(LOCK) $(ARGS) -o requirements.txt -c requirements-dev.txt
	for file in requirements.txt requirements-local.txt requirements-dev.txt; do \
		sed '/^    #/d' $$file > $$file.new && mv $$file.new $$file; \
	done

.PHONY: messages
messages: ## Compile the translations after a change of locale/ (needs msgfmt of gettext)
	@for po in locale/*/LC_MESSAGES/django.po; do msgfmt --check-format -o $${po%.po}.mo $$po; done

.PHONY: clean
clean: ## Remove the virtual environment and caches; data under var/ stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find . -path './.*' -prune -o -path ./var -prune -o -name __pycache__ -type d -print0 \
		| xargs -0 rm -rf
	@if pgrep -f "$(CURDIR)/[.]venv/bin/python" > /dev/null; then \
		echo "$(VENV) stays: it is in use. Stop what runs from it first."; \
	else \
		rm -rf $(VENV); \
	fi

# --- The virtual environment: made once, brought up to date when a lock file changes ----

$(VENV)/bin/python:
	@for python in $(PYTHON) $(PYTHONS); do \
		if $$python -c '$(RIGHT_PYTHON)' 2> /dev/null; then \
			echo "Making $(VENV) with $$($$python --version) ..."; \
			exec $$python -m venv --clear $(VENV); \
		fi; \
	done; \
	echo "Python 3.11, 3.12 or 3.13 with venv is needed. On Debian: apt install python3-venv" >&2; \
	echo "If it has another name: make run PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.local: requirements-local.txt | $(VENV)/bin/python
	@echo "Installing $$(grep -c '==' $<) packages; this takes a minute or two, once ..."
	@$(PIP) install --quiet --require-hashes -r $<
	@touch $@

$(VENV)/.dev: requirements-dev.txt | $(VENV)/bin/python
	@echo "Installing $$(grep -c '==' $<) packages; this takes a few minutes, once ..."
	@$(PIP) install --quiet --require-hashes -r $<
	@touch $@ $(VENV)/.local
