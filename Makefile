# Needs only Python >= 3.11 and make. Set PYTHON to choose the interpreter.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
# Tools that read the code and the lock, apart from what the lock says is installed.
TOOLS := .venv-security
# Tests run in this many processes; each may start a Ray of its own, of some 2 GiB.
WORKERS ?= 2
PYTEST := $(RUN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

PIP := pip install --quiet --disable-pip-version-check

.PHONY: check demo test lint types docs security bandit sbom lock images clean

demo: $(VENV)/ready
	$(RUN)/python jobs/tune_zdna.py

# The fast half, for every change: lint, types, tests that take seconds.
check: lint types
	$(PYTEST) -m "not slow"

test: $(VENV)/ready
	$(PYTEST)

lint: $(VENV)/ready
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(VENV)/ready
	$(RUN)/mypy

# Fails on any warning: a link to nowhere, a docstring whose arguments are not those of the function.
docs: $(VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --quiet --strict

# Fails where no advisory could be read, too: nothing is known then.
security: bandit
	$(TOOLS)/bin/python .ci/audit.py requirements.lock requirements-cuda.lock requirements-security.lock

bandit: $(TOOLS)/ready
	$(TOOLS)/bin/bandit --quiet --recursive --configfile pyproject.toml hyena_ray jobs

sbom: $(TOOLS)/ready
	cat requirements.lock requirements-cuda.lock | $(TOOLS)/bin/cyclonedx-py requirements - \
		--pyproject pyproject.toml --output-format JSON --output-reproducible --output-file sbom.json

# Writes every lock again. FILES are wheels of PyTorch for the CPU, and UPGRADE may be --upgrade.
lock: $(TOOLS)/ready
	$(TOOLS)/bin/python .ci/lock.py $(UPGRADE) $(FILES)

# Adds the digest of every image that a file names by its tag; asks the registry, through docker.
images:
	$(PYTHON) .ci/images.py

# PyTorch for the CPU where pip finds it, on the disk or an index, else PyPI's build, for CUDA.
$(VENV)/ready: requirements.lock requirements-cpu.lock requirements-cuda.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/$(PIP) --require-hashes -r requirements.lock -r requirements-cpu.lock || \
		$(RUN)/$(PIP) --require-hashes -r requirements.lock -r requirements-cuda.lock
	$(RUN)/$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(TOOLS)/ready: requirements-security.lock
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/$(PIP) --require-hashes -r requirements-security.lock
	touch $@

clean:
	rm -rf $(VENV) $(TOOLS) site
