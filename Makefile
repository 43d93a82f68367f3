# SPDX-License-Identifier: Apache-2.0
# lab/bootstrap installs what is missing and returns at once otherwise.

PYTHON = .venv/bin/python
PYTEST = $(PYTHON) -m pytest
# How many processes run the unit tests; 0: the one of pytest itself.
PROCESSES = auto
# What test-functional runs.
FUNCTIONAL = tests/functional
# The oldest Horizon that the plugin works with, and the oldest Django of that; the newest are in .venv.
HORIZON_24 = lab/cache/horizon-24.0.0

# What the browser tests need.
CHROMIUM = chromium chromium-driver fonts-liberation

# What reads the files in etc/.
SYSTEM = apache2 haproxy libapache2-mod-wsgi-py3 logrotate openssl systemd

# The lab's tests in parts, by the names of their files, each with a host of its own: one runs beside test-cloud, the
# others side by side after it.
LAB_PARTS = test-lab-long test-lab-middle test-lab-short

.PHONY: demo demo-down test test-unit test-functional test-dashboard test-horizon-27 test-horizon-24 test-lab \
  $(LAB_PARTS) test-cloud test-packages test-deploy chaos storm hammer lint cover docs deb

demo:
	lab/bootstrap
	$(PYTHON) -m lab.demo

demo-down:
	$(PYTHON) -m lab down

# Two at a time, the longest first: each waits often enough for both to be quicker. The transcripts are in test-unit.
test:
	lab/bootstrap git postgresql $(CHROMIUM) $(SYSTEM)
	LAB_PROCESSORS=1 $(MAKE) PROCESSES=0 --jobs=2 --output-sync LIVE='>&3 2>&3' \
	  FUNCTIONAL='$(FUNCTIONAL) --ignore=tests/functional/test_transcripts.py' \
	  test-cloud lint test-unit test-dashboard test-functional $(LAB_PARTS) 3>&1

test-unit:
	lab/bootstrap git postgresql
	$(PYTEST) -n $(PROCESSES) tests/unit tests/functional/test_transcripts.py

# Two processes: its tests wait for programs half of their time.
test-functional:
	lab/bootstrap postgresql $(SYSTEM)
	$(PYTEST) -n 2 --dist loadfile $(FUNCTIONAL)

test-dashboard: test-horizon-27 test-horizon-24

test-horizon-27:
	lab/bootstrap
	$(PYTEST) tests/dashboard --ds=tests.dashboard.settings

test-horizon-24: $(HORIZON_24)
	lab/bootstrap
	PYTHONPATH=$(CURDIR)/$(HORIZON_24) $(PYTEST) tests/dashboard --ds=tests.dashboard.settings

$(HORIZON_24):
	lab/bootstrap
	$(PYTHON) -m pip install --quiet --no-deps --target $@.part horizon==24.0.0 Django==4.2.30 pytz
	mv $@.part $@

test-lab:
	lab/bootstrap
	$(PYTEST) tests/lab

test-lab-long: LAB_FILES = $(wildcard tests/lab/test_[a-l]*.py tests/lab/test_sh*.py)
test-lab-middle: LAB_FILES = $(wildcard tests/lab/test_[mn]*.py tests/lab/test_s[a-gi-t]*.py)
test-lab-short: LAB_FILES = $(wildcard tests/lab/test_[o-r]*.py tests/lab/test_s[u-z]*.py tests/lab/test_[t-z]*.py)
$(LAB_PARTS): test-lab-%:
	lab/bootstrap
	LAB_TESTS=tests-$* $(PYTEST) $(LAB_FILES)

# --output-sync would hold its lines back to the end, many minutes later: LIVE lets this one show that `make test`
# gets on. Lines of two would be mixed up.
test-cloud:
	lab/bootstrap $(CHROMIUM)
	$(PYTEST) tests/cloud $(LIVE)

# The Debian packages, in dist/deb. As root.
deb:
	lab/bootstrap git mmdebstrap
	packaging/deb

# Builds them, and tries them in a Debian 12 of its own. As root; not part of `test`.
test-packages: deb
	$(PYTEST) --durations=0 tests/packages

# Follows the installation guide, and runs the Ansible role, with the packages of dist/deb on bare Debian 12 machines
# in containers. As root; not part of `test`.
test-deploy: dist/deb/Packages
	lab/bootstrap ansible ansible-lint git iproute2 mmdebstrap slirp4netns systemd-container
	$(PYTEST) --durations=0 tests/deploy

dist/deb/Packages:
	$(MAKE) deb

# CHAOS_SECONDS bounds it (600), CHAOS_SEED repeats it; CHAOS_HOSTS=3: on three hosts, and between them.
chaos:
	lab/bootstrap
	$(PYTHON) -m tests.chaos

# STORM_SECONDS bounds it (120), STORM_SEED repeats what is tried.
storm:
	lab/bootstrap
	$(PYTHON) -m tests.storm

# HAMMER_SECONDS bounds it on each database (300), HAMMER_SEED repeats what is tried.
hammer:
	lab/bootstrap postgresql
	$(PYTHON) -m tests.hammer

lint:
	lab/bootstrap
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m codespell_lib

# How much of the code the unit tests, transcripts and dashboard tests reach; fails below the figure in pyproject.toml.
cover:
	lab/bootstrap git postgresql
	$(PYTEST) -n $(PROCESSES) --cov --cov-report= --cov-fail-under=0 tests/unit tests/functional/test_transcripts.py
	$(PYTEST) --cov --cov-append tests/dashboard --ds=tests.dashboard.settings

# Needs python3-venv, and no git. The virtualenv is made anew where what it is made of has changed. So are all pages:
# Sphinx leaves the menus of those that did not change as they were.
docs: .venv-docs/stamp
	rm -rf doc/build
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || stat --format=%Y setup.cfg) \
	  .venv-docs/bin/sphinx-build -W --keep-going -n -q -j auto -b html doc/source doc/build/html

.venv-docs/stamp: setup.cfg lab/constraints.txt doc/constraints.txt
	rm -rf .venv-docs
	python3 -m venv .venv-docs
	PBR_VERSION=$$(git describe --tags 2>/dev/null || echo 0.0.0) .venv-docs/bin/python -m pip install --quiet \
	  --disable-pip-version-check --constraint lab/constraints.txt --constraint doc/constraints.txt \
	  --editable '.[client,docs,service]'
	touch $@
