# Shortcuts; what each one runs is written once, in .ci/run and README.md.
PYTHON := .venv/bin/python

.PHONY: setup test test-slow lint format types mutants audit quickstart coverage checks clean

setup:  ## make or update .venv with everything a developer needs
	python3 -m venv .venv
	$(PYTHON) -m pip install -q -e '.[dev]'

test:  ## tests that take no more than a few seconds each
	$(PYTHON) -m pytest tests

test-slow:  ## all others: learning, several processes, examples, browsers, installation
	$(PYTHON) -m pytest tests -m slow

lint:  ## ruff: rules and format, nothing is changed
	.ci/run lint

format:  ## ruff: format and fix what can be fixed
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

types:  ## mypy, strict, on the built package
	.ci/run types

mutants:  ## show that the tests catch the classic faults
	.ci/run mutants

audit:  ## known vulnerabilities of what is installed; asks osv.dev
	$(PYTHON) -m pip_audit --local --skip-editable --vulnerability-service osv

quickstart:  ## the quickstart's short form
	.ci/run quickstart

coverage:  ## lines that no test runs
	$(PYTHON) -m pytest tests -m "" --cov --cov-report=term-missing:skip-covered

checks:  ## everything a change must pass
	.ci/run

clean:  ## remove what builds and tools leave behind
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
