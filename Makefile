# GNU make 3.81 (macOS) or newer. `make` alone lists the targets.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON_OF_VENV := .venv/bin/python
# Bytecode is cached in .venv even where PYTHONDONTWRITEBYTECODE is set: otherwise each program compiles all it imports.
CACHED := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX="$(CURDIR)/.venv/pycache" $(PYTHON_OF_VENV)
LOCAL := $(CACHED) -m local
CHECK_SCHEMA := .venv/bin/check-jsonschema --quiet --builtin-schema
PYTEST := $(CACHED) -m pytest --durations=5 --durations-min=1
# Percent of the lines of plugins, dags, local, scripts and benchmarks: a point below what was reached when it was last
# raised, because what a killed process had run is not counted.
COVERAGE_FLOOR := 80
# Three processes, for two cores: many tests wait for a clock, a lock or a program; the slow ones more than others. Each
# test file is in one of them: a stack, a server or a simulator serves the tests of its file. Long files come first
# (tests/conftest.py), not those with many tests.
SIDE_BY_SIDE = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
PROCESSES := 3
test-slow: PROCESSES := 4

# What a person sets is in capitals. make takes tables=users for a variable too, which nothing would read.
SMALL := alarm args chatbot check env full_refresh help namespaces out pace per_minute plan plan_only port python region repeats rows \
	rows_list serve tables verify wait yes
$(foreach name,$(SMALL),$(if $(findstring command line,$(origin $(name))),$(error \
	nothing reads $(name)=$($(name)); did you mean $(shell echo $(name) | tr a-z A-Z)=$($(name))?)))

# TABLES, ROWS and the like reach the programs through the environment: make hands on what its command line or its
# own environment sets.

.PHONY: help setup venv run up down status psql compare dap dictionary logs reset test test-slow test-infra coverage lint lint-github pre-commit docs format constraints
.PHONY: bench bench-refresh bench-verify clean package deploy dap-key prepare-database smoke costs prices destroy

help: ## this list
	@awk 'BEGIN { FS = ":.*## "; print "make TARGET [NAME=value ...]" } \
		/^## / { print "\n" substr($$0, 4) } \
		/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

## The local stack (TABLES=users,cour* NAMESPACES=canvas,catalog ROWS=1000 PACE=real PORT=8080 CHECK=0 CHATBOT=1 VERIFY=1)
run: venv ## start the stack, replicate every table once, show the results; run it again to sync what changed
	@$(LOCAL) run
up: venv ## start the stack and keep it running; prints the URL of the UI and the login
	@$(LOCAL) up
down: venv ## stop the stack
	@$(LOCAL) down
status: venv ## what is running, and where
	@$(LOCAL) status || [ $$? -eq 3 ] # that nothing runs is an answer
psql: venv ## open the replica in psql: make psql ARGS="-c 'TABLE cd2.freshness'"
	@$(LOCAL) psql $(ARGS)
compare: venv ## compare every table of the replica with the simulator's truth
	@$(LOCAL) compare
dap: venv ## the official client against the stack: make dap ARGS="syncdb --namespace canvas --table users"
	@$(LOCAL) dap $(ARGS)
dictionary: venv ## the data dictionary of the replica, .local/dictionary.html (OUT=FILE; CD2_DSN=... for a database of yours)
	@$(LOCAL) dictionary
logs: venv ## what the tasks of the last run logged; warnings of the components (TABLES=users: all lines about a table)
	@$(LOCAL) logs
reset: venv ## stop the stack and delete its databases and logs
	@$(LOCAL) reset

## On AWS (ENV=dev, stg or prod; docs/deploy.md)
package: venv ## dist/: plugins.zip, requirements.txt and startup.sh for MWAA (REGION=: check its certificates)
	@$(PYTHON_OF_VENV) -m scripts.package --region "$(REGION)"
deploy: venv ## package, plan, confirm (YES=1), apply, prepare the database, dry run (PLAN_ONLY=1, PLAN=FILE, WAIT=minutes)
	@$(PYTHON_OF_VENV) -m scripts.deploy --environment "$(ENV)"
dap-key: venv ## prompt for the DAP key and write it to SSM
	@$(PYTHON_OF_VENV) -m scripts.dap_key --environment "$(ENV)"
prepare-database: venv ## user, rights and schemas of the replication (ARGS="--dry-run --reader analysts --member-of ...")
	@$(PYTHON_OF_VENV) -m scripts.prepare_database --environment "$(ENV)" $(ARGS)
smoke: venv ## trigger a dry run through MWAA, wait, and report it (ARGS=--unpause; ALARM=1: then raise an alarm)
	@$(PYTHON_OF_VENV) -m scripts.smoke --environment "$(ENV)" $(ARGS)
	@if [ -n "$(ALARM)" ]; then $(PYTHON_OF_VENV) -m scripts.alarm --environment "$(ENV)"; fi
costs: venv ## what a deployment costs a month (REGION=, after make prices; ARGS="--storage 500" for your own numbers)
	@$(PYTHON_OF_VENV) -m scripts.costs $(if $(REGION),--region "$(REGION)") $(ARGS)
prices: venv ## read the prices of a region (REGION=eu-central-1) from AWS's price list, for make costs
	@$(PYTHON_OF_VENV) -m scripts.prices --region "$(REGION)"
destroy: venv ## destroy an environment, after a confirmation (YES=dev for ENV=dev)
	@$(PYTHON_OF_VENV) -m scripts.destroy --environment "$(ENV)"

## Development
setup: ## create or update .venv (other targets do it when needed; PYTHON=... chooses the Python)
	@scripts/setup
venv:
	@scripts/setup --quiet
test: venv ## the quick tests
	@$(PYTEST) -m "not slow and not infra" $(SIDE_BY_SIDE) $(ARGS)
test-slow: venv ## the slow tests (minutes)
	@$(PYTEST) -m slow $(SIDE_BY_SIDE) $(ARGS)
test-infra: venv ## the tests of the deployment (minutes; needs terraform)
	@$(PYTEST) -m infra $(SIDE_BY_SIDE) $(ARGS)
coverage: venv ## make test with line coverage, including programs that tests start; CI has a floor
	@rm -rf .local/coverage
	@$(PYTEST) -m "not slow and not infra" $(SIDE_BY_SIDE) --cov --cov-report= $(ARGS)
	@$(PYTHON_OF_VENV) -m coverage report --fail-under=$(COVERAGE_FLOOR)
lint: venv lint-github ## ruff (rules, format), mypy --strict over all Python, workflows and issue forms
	@$(PYTHON_OF_VENV) -m ruff check .
	@$(PYTHON_OF_VENV) -m ruff format --check .
	@$(PYTHON_OF_VENV) -m mypy
lint-github: venv ## only the workflows and issue forms
	@$(CHECK_SCHEMA) vendor.github-workflows .github/workflows/*.yml docs/examples/*.yml
	@$(CHECK_SCHEMA) vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	@$(CHECK_SCHEMA) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@if command -v actionlint >/dev/null; then actionlint && actionlint docs/examples/*.yml; fi
pre-commit: venv ## all checks of a commit, on all files
	@PRE_COMMIT_HOME="$${PRE_COMMIT_HOME:-.local/pre-commit}" $(PYTHON_OF_VENV) -m pre_commit run --all-files
docs: venv ## the documentation as a site in .local/site; warnings are errors (SERVE=1 shows it while you write)
	@NO_MKDOCS_2_WARNING=1 $(PYTHON_OF_VENV) -m mkdocs $(if $(SERVE),serve,build --strict)
format: venv ## format the code (make lint reports what it cannot fix)
	@$(PYTHON_OF_VENV) -m ruff check --fix --quiet --exit-zero . >/dev/null
	@$(PYTHON_OF_VENV) -m ruff format .
constraints: ## rebuild the constraints files, after a change to requirements*.txt
	@[ -x .venv/bin/uv ] || scripts/setup  # no refresh: the new requirements may not fit the old constraints
	@$(PYTHON_OF_VENV) -m scripts.compile_constraints
bench: venv ## our engine, the official client and psql side by side (an hour; ROWS_LIST=100_000 for less; HELP=1 lists all)
	@$(CACHED) -m benchmarks $(if $(HELP),--help)
bench-refresh: venv ## a refresh of 100 unchanged tables at DAP's own pace (25 minutes; TABLES=, PER_MINUTE= for less)
	@$(CACHED) -m benchmarks.refresh
bench-verify: venv ## a verification against a re-init of the same table (10 minutes; ROWS=, REPEATS= for less)
	@$(CACHED) -m benchmarks.verification
clean: ## stop the stack, remove .venv, the stack's data and all caches
	@if [ -d .local ] && [ -x $(PYTHON_OF_VENV) ]; then $(LOCAL) down; fi
	@rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
