# Every target makes the environment it needs; nothing has to be activated.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

DATASET ?= streets
NOTEBOOK ?=
SEEDS ?= 5
WORKERS ?= 2

.PHONY: lab test run commit train ladder crf study camvid-study overview camvid costs site slides student bench lint clean help

help:
	@echo "make lab     open the course in JupyterLab"
	@echo "make test    run all checks: unit tests, every notebook, widgets in a browser"
	@echo "make run     execute the notebooks headless into _build/ (NOTEBOOK=02, DATASET=camvid)"
	@echo "make commit  execute the notebooks and keep their outputs in notebooks/"
	@echo "make train   train all shipped weights anew"
	@echo "make ladder  score the shipped networks on the test split"
	@echo "make crf     tune the CRF for every network of the ladder, and score it"
	@echo "make study   train every network of the ladder with SEEDS seeds (5), and score them all"
	@echo "make camvid-study  what notebook 09 reports on real frames (needs them)"
	@echo "make camvid  download the real street photographs (about 180 MB)"
	@echo "make costs   measure what one student costs a server, notebook by notebook"
	@echo "make site    build the site of the course, with its slides, into _build/site"
	@echo "make slides  build the slides of every notebook into _build/slides"
	@echo "make student  copy the course for a class, without solutions, and for its teacher, with them"
	@echo "make bench   compare scores, scenes, the CRF and networks with those of peers"

lab: $(VENV)/.lab
	$(VENV)/bin/jupyter lab notebooks/00_start_here.ipynb

test: $(VENV)/.test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest --nbval --nbval-current-env --nbval-cell-timeout=900 tests notebooks

run: $(VENV)/.lab
	$(RUN) -m helpers.run_notebooks --dataset $(DATASET) $(if $(NOTEBOOK),--only $(NOTEBOOK))

commit: $(VENV)/.lab
	$(RUN) -m helpers.run_notebooks --commit $(if $(NOTEBOOK),--only $(NOTEBOOK))

train: $(VENV)/.lab
	$(RUN) -m helpers.checkpoints

ladder: $(VENV)/.lab
	$(RUN) -m helpers.study ladder --dataset $(DATASET)

crf: $(VENV)/.lab
	$(RUN) -m helpers.crf_study repeat --dataset $(DATASET)
	$(RUN) -m helpers.crf_study repeat fcn32s fcn8s unet --seeds 0 1 2 --dataset $(DATASET)

study: $(VENV)/.lab
	$(RUN) -m helpers.study run --seeds $(SEEDS) --workers $(WORKERS)

camvid-study: $(VENV)/.lab
	$(RUN) -m helpers.camvid_study

overview: $(VENV)/.lab
	$(RUN) -m helpers.study overview data/study/overview.png

camvid: $(VENV)/.lab
	$(RUN) -m helpers.camvid

costs: $(VENV)/.lab
	$(RUN) -m helpers.costs

site: $(VENV)/.site
	$(RUN) -m helpers.site

slides: $(VENV)/.site
	$(RUN) -m helpers.slides

student: $(VENV)/.lab
	$(RUN) -m helpers.student

bench: $(VENV)/.bench
	$(RUN) -m benchmarks.bench_metrics
	$(RUN) -m benchmarks.bench_scenes
	$(RUN) -m benchmarks.bench_crf
	$(RUN) -m benchmarks.bench_networks

lint: $(VENV)/.test
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean:
	rm -rf _build data/cache .pytest_cache .ruff_cache

# A stamp is written last, so an install that broke off is taken up again.
$(VENV)/.lab: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and "Python 3.11 or 3.12 is needed, this is " + sys.version.split()[0] + ": run make with PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: $(VENV)/.lab
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[test,site]"
	touch $@

$(VENV)/.site: $(VENV)/.lab
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[site]"
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[test,site,bench]"
	touch $@
