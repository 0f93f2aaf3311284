# The work is in `python -m course`; bootstrap.py makes the environment first if it is not there.
PYTHON ?= python3
COURSE := $(PYTHON) course/bootstrap.py run --
# Two test files at a time on a CPU; on a GPU one after the other, since each engine wants most of its memory.
WORKERS ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo 0 || echo 2)
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile
# Profiles that are rehearsed: one of each family.
REHEARSED ?= 2b qwen2-vl-2b
.DEFAULT_GOAL := help
.PHONY: help setup hello lab lab-dev run test rehearse gpu-check browser-test lint serve workshop bench site lock clean

help:   ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make the environment in .venv (CUDA or CPU set, by hardware)
	@$(PYTHON) course/bootstrap.py

hello:  ## describe one of the bundled images in the terminal
	@$(COURSE) -m course hello

lab:    ## open your copies of the notebooks in JupyterLab; LAB_FLAGS="--no-browser" passes flags on
	@$(COURSE) -m course lab $(LAB_FLAGS)

lab-dev:  ## for maintainers: open the committed notebooks themselves
	@$(COURSE) -m course lab --originals $(LAB_FLAGS)

run:    ## execute every notebook; results and a summary in outputs/
	@$(COURSE) -m course run

test:   ## static checks, unit tests, then the notebooks against their committed outputs
	@trap 'exit 130' INT; failed=; \
	$(COURSE) -m course lint || failed="$$failed lint"; \
	$(COURSE) -m pytest $(SIDE_BY_SIDE) tests || failed="$$failed tests"; \
	$(COURSE) -m pytest $(SIDE_BY_SIDE) --nbval notebooks --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-current-env || failed="$$failed notebooks"; \
	[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

rehearse:  ## run every notebook as for a released model of each family, small and with random weights
	@for profile in $(REHEARSED); do \
	$(COURSE) -m course run --rehearse --profile $$profile --output outputs/rehearsal/$$profile || exit 1; done

gpu-check:  ## what only a GPU can show: notebooks, answers, planner, flags; elsewhere, says what it left out
	@$(COURSE) -m course gpu-check $(GPU_CHECK_FLAGS)

browser-test: ## JupyterLab and pages in Chromium (needs requirements/browser.txt; COURSE_BROWSER=all: every chapter)
	@$(COURSE) -m pytest tests/browser

lint:   ## check style, format, imports and types, notebooks included
	@$(COURSE) -m course lint

site:   ## build the course as static pages in build/site
	@$(COURSE) -m course site

serve:  ## start the model server of the profile; prints its address and a curl line
	@$(COURSE) -m course serve

workshop: ## for teachers: a workshop in a folder; WORKSHOP="--seats 30 --gpu L40S --out ../room"
	@$(COURSE) -m course workshop $(if $(WORKSHOP),$(WORKSHOP),--help)

bench:  ## measure what this machine could reach and does; dated results and a page in benchmarks/
	@$(COURSE) -m course bench

lock:
	@$(PYTHON) course/bootstrap.py lock

clean:  ## remove what runs leave behind (not .venv, not downloaded models)
	@rm -rf outputs build *.egg-info packaging/*/build packaging/*/*.egg-info .ruff_cache .mypy_cache .import_linter_cache .pytest_cache
	@find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
