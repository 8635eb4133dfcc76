# make report   train, validate and look, on simulated learners or DATASET=...
# make test     run the tests
# make lab      open the notebooks
# make gallery  make figures/ again

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   ?= .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Which build of torch: empty takes pip's default for the platform; otherwise the address of a
# wheel index for CPU or for a CUDA version (see README, Installation).
TORCH_INDEX ?=

PRESET  ?= quick
DATASET ?= simulated
MODE    ?= retrospective
SEED    ?= 0
NAME    ?=
ARGS    ?=

.PHONY: report test lab gallery lint clean

report: $(VENV)/.installed
	$(PY) -m kt_core run --preset $(PRESET) --dataset $(DATASET) --mode $(MODE) --seed $(SEED) \
		$(if $(NAME),--name $(NAME)) $(ARGS)

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile $(ARGS)  # two workers, a core each

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

lab: $(VENV)/.installed
	$(VENV)/bin/jupyter lab notebooks

gallery: $(VENV)/.installed
	$(PY) -m kt_core run --preset quick --name gallery --out $(VENV)/gallery-runs
	$(PY) -m kt_core benchmark --print --out $(VENV)/gallery-runs/benchmark
	rm -rf figures && mkdir figures
	cp $(VENV)/gallery-runs/*/figures/*.png figures/
	rm -rf $(VENV)/gallery-runs

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch)
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	touch $@
