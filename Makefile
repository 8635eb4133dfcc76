# make report   train, validate and look, on simulated learners or DATASET=...
# make test     run the tests of all parts
# make test-all     also run whole commands, notebooks in a browser, and the package
# make lab      open the notebooks
# make coverage     run them with a count of the lines of kt_core that they reach
# make test-oldest  run most of them with the oldest versions that pyproject.toml allows
# make test-newest  run all of them with the newest versions that there are
# make audit        look for versions that clash or have known holes
# make hashes       write the digests of the versions in constraints.txt
# make wheel    build a package that pip installs anywhere, in dist/
# make gallery  make figures/ again
# make demo     train the small run of kt_core.demo() again
# make docs     build the documentation site in build/site, to be read without a network

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3.14 || command -v python3)
VENV   ?= .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip install --quiet --disable-pip-version-check
# Every file is checked against the digests of constraints.txt, except a torch from TORCH_INDEX and what
# a platform needs beside them (on Linux, the CUDA libraries of torch's usual build: the second call).
LOCKED := $(PIP) --require-hashes --no-deps --requirement constraints.txt

# Which build of torch: empty takes pip's default for the platform; otherwise the address of a
# wheel index for CPU or for a CUDA version (see docs/guide.md, Installation).
TORCH_INDEX ?=

PRESET  ?= quick
DATASET ?= simulated
MODE    ?= retrospective
SEED    ?= 0
NAME    ?=
ARGS    ?=

TORCH  := $(shell sed -n 's/^torch==\([0-9.]*\).*/\1/p' constraints.txt)
PIP_AUDIT := 2.10.1
HASHIN := 1.0.5
AUDIT  := .venv-audit
DOCS   := .venv-docs
NEWEST := .venv-newest
OLDEST := .venv-oldest
OLDEST_TORCH ?= 2.6.0
BOTH   := -n 2 --dist loadfile --no-loadscope-reorder
OLDEST_TESTS ?= $(addprefix tests/,baselines core metrics runs tracing $(addsuffix .py,data/test_formats data/test_long_tables data/test_sheets data/test_times data/test_odd_readers data/test_readers \
	data/test_robustness_readers data/test_robustness_stored data/test_sequences data/test_store \
	data/test_scores data/test_simulated_worlds evaluation/test_ceiling evaluation/test_ceiling_live evaluation/test_evaluation evaluation/test_exam evaluation/test_improvement evaluation/test_masked evaluation/test_not_defined evaluation/test_shape \
	learners/test_cohort learners/test_use studies/test_audit studies/test_criterion training/test_resume training/test_training))

.PHONY: report test test-all coverage test-oldest test-newest audit hashes lab wheel gallery demo docs lint clean

report: $(VENV)/.installed
	$(PY) -m kt_core run --preset $(PRESET) --dataset $(DATASET) --mode $(MODE) --seed $(SEED) \
		$(if $(NAME),--name $(NAME)) $(ARGS)

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PY) -m pytest $(BOTH) -m "not whole" $(ARGS)

test-all: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PY) -m pytest $(BOTH) $(ARGS)

coverage: $(VENV)/.installed
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(VENV)/bin/coverage run -m pytest $(BOTH) $(ARGS)
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report --skip-covered --sort=cover --show-missing

test-oldest: $(OLDEST)/.installed
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest $(BOTH) -W default $(OLDEST_TESTS) $(ARGS)

test-newest: $(NEWEST)/.installed
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest $(BOTH) $(ARGS)

audit: $(VENV)/.installed
	$(PY) -m pip check
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==$(PIP_AUDIT)
	$(AUDIT)/bin/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip

hashes:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check hashin==$(HASHIN)
	$(AUDIT)/bin/hashin --requirements-file constraints.txt \
		$$(sed -n 's/^\([^# ]*==[^ ]*\).*/\1/p' constraints.txt)
	$(AUDIT)/bin/hashin --requirements-file docs/requirements.txt \
		$$(sed -n 's/^\([^# ]*==[^ ]*\).*/\1/p' docs/requirements.txt)

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

lab: $(VENV)/.installed
	$(VENV)/bin/jupyter lab notebooks

wheel: $(VENV)/.installed
	rm -rf build dist  # files that were removed since would still be in build/
	$(PY) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

gallery: $(VENV)/.installed
	$(PY) -m kt_core run --preset quick --name gallery --out $(VENV)/gallery-runs
	$(PY) -m kt_core run --compare constraints --preset quick --name constraints --out $(VENV)/gallery-runs
	$(PY) -m kt_core benchmark --print --out $(VENV)/gallery-runs/benchmark
	rm -rf figures && mkdir figures
	cp $(VENV)/gallery-runs/*/figures/*.png figures/
	rm -rf $(VENV)/gallery-runs

demo: $(VENV)/.installed
	$(PY) benchmarks/demo.py

docs: $(VENV)/.installed $(DOCS)/.installed
	$(PY) docs/pages.py build/docs
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	$(PY) docs/searched.py
	@echo "site: build/site/index.html"

clean:
	rm -rf $(VENV) $(DOCS) $(OLDEST) $(NEWEST) $(AUDIT) build dist *.egg-info

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch==$(TORCH))
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(LOCKED)
	$(PIP) --no-build-isolation --editable '.[test]'
	touch $@

$(DOCS)/.installed: docs/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		--requirement docs/requirements.txt
	touch $@

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	sed 's/^torch==.*/torch==$(OLDEST_TORCH)/' constraints-oldest.txt > $(OLDEST)/constraints.txt
	$(if $(TORCH_INDEX),$(OLDEST)/bin/python -m pip install --quiet --index-url $(TORCH_INDEX) torch==$(OLDEST_TORCH))
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(OLDEST)/constraints.txt --editable '.[test]'
	touch $@

$(NEWEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(NEWEST)
	$(if $(TORCH_INDEX),$(NEWEST)/bin/python -m pip install --quiet --index-url $(TORCH_INDEX) torch)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --editable '.[test]'
	touch $@
