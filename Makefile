# Two commands suffice: `make demo` and `make test`. Everything runs in .venv, made from requirements.lock.

# The first Python on the path that fits; name another with `make PYTHON=... demo`.
FITS = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON = $(shell for python in python3 python3.12 python3.11; do \
    $$python -c '$(FITS)' > /dev/null 2>&1 && echo $$python && break; done)
CORES = all
CONFIG = config/config.yaml
TESTS = tests

READY = .venv/.ready
HARNESS = .venv-harness
SITE = import sysconfig; print(sysconfig.get_path("purelib"))
IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH" VIRTUAL_ENV="$(CURDIR)/.venv"
SNAKEMAKE = $(IN_VENV) snakemake --cores $(CORES) --configfile $(CONFIG) --rerun-incomplete

.DEFAULT_GOAL = help
.PHONY: help demo test harness lint format clean lock pretrain pin estimate report power bench

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 16
	@echo 'Variables: CORES=$(CORES) CONFIG=$(CONFIG) TESTS=$(TESTS) PYTHON=<3.11 or 3.12>'

# Written last, so that a failed installation is taken up again.
$(READY): requirements.lock
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11 ...'; exit 1; }
	@$(PYTHON) -c '$(FITS)' || { echo '$(PYTHON) is not Python 3.11 or 3.12'; exit 1; }
	rm -f $@
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	touch $@

demo: $(READY) ## set up, then every table and figure of the default configuration
	$(IN_VENV) python workflow/scripts/unlock.py
	$(SNAKEMAKE) all_figures

test: $(READY) ## set up, then every test (a part: TESTS=tests/unit)
	$(IN_VENV) OMP_NUM_THREADS=1 python -m pytest $(TESTS)

harness: $(HARNESS)/.ready ## lm-evaluation-harness beside .venv, for the tests that compare with it

# It sees the packages of .venv and adds to them, so both have the same versions and nothing is installed twice.
$(HARNESS)/.ready: $(READY) envs/harness.txt
	rm -rf $(HARNESS)
	.venv/bin/python -m venv $(HARNESS)
	.venv/bin/python -c '$(SITE)' > "$$($(HARNESS)/bin/python -c '$(SITE)')/project.pth"
	$(HARNESS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement envs/harness.txt
	touch $@

lint: $(READY) ## check style
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) snakefmt --check Snakefile workflow/rules
	$(IN_VENV) snakemake --lint

format: $(READY) ## put into style
	$(IN_VENV) ruff check --fix .
	$(IN_VENV) ruff format .
	$(IN_VENV) snakefmt Snakefile workflow/rules

clean: ## remove the results, nothing else
	rm -rf results report.html

lock: $(READY) ## resolve the pins of pyproject.toml into requirements.lock and envs/
	$(IN_VENV) python workflow/scripts/lock_environments.py

pretrain: $(READY) ## rebuild the model organisms from scratch
	$(SNAKEMAKE) pretrain

pin: $(READY) ## look up the commits that CONFIG leaves open, in config/pins.yaml (a further --configfile)
	$(IN_VENV) python workflow/scripts/pin.py --configfile $(CONFIG) --output config/pins.yaml

estimate: $(READY) ## cells, jobs, hours and disk of CONFIG; runs nothing
	@$(IN_VENV) python workflow/scripts/estimate.py --configfile $(CONFIG)

report: $(READY) ## the figures of finished results on one page, report.html
	$(SNAKEMAKE) report

power: $(READY) ## how many seeds each claim would need, from finished results
	$(SNAKEMAKE) --quiet all -- power

bench: $(READY) $(HARNESS)/.ready ## every bench in tests/bench, most of them against peers; takes long
	for bench in tests/bench/*.py; do $(IN_VENV) OMP_NUM_THREADS=1 python "$$bench" || exit 1; done
