# make demo   every stage on a glacier made here, offline
# make test   the tests        make lint   the style        make pictures   those of the README, after make demo
# make audit  known weaknesses of the packages              make constraints   constraints.txt from what .venv holds
# Each sets up .venv the first time.

PYTHON ?= python3
BIN = .venv/bin
AUDIT = --disable-pip --no-deps --progress-spinner=off
NAME = demo
FORECAST = $(lastword $(sort $(wildcard DeepLearning/runs/$(NAME)-*/forecast/)))

.PHONY: demo test coverage mutants lint audit constraints pictures clean

demo: .venv/ready
	@echo "── Making the demo glacier, then running every stage on it: scenes, co-registration, patches, movement, training, scores, forecast ──"
	$(BIN)/python demo/makeGlacier.py --name=$(NAME)
	$(BIN)/python dataAPI.py --name=$(NAME)
	$(BIN)/python alignment.py --name=$(NAME)
	$(BIN)/python createPatches.py --name=$(NAME)
	$(BIN)/python movement.py --name=$(NAME)
	$(BIN)/python DeepLearning/trainAttentionLSTM.py --name=$(NAME) --wandb=offline
	$(BIN)/python DeepLearning/evaluate.py --name=$(NAME)
	$(BIN)/python DeepLearning/forecast.py --name=$(NAME)

test: .venv/ready
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadgroup

# which lines the tests run; it takes twice as long as the tests
coverage: .venv/ready
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadgroup --cov --cov-report=term:skip-covered

# mistakes put in one at a time: do the tests notice?
mutants: .venv/ready
	$(BIN)/python tests/mutate.py $(WORDS)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# in a place of its own: the packages it brings are not those it judges
audit: .venv/ready
	test -x .venv/audit/bin/pip-audit || ($(BIN)/python -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit)
	echo 'jinja2==2.4.1' > .venv/audit/weak.txt
	@.venv/audit/bin/pip-audit $(AUDIT) --requirement .venv/audit/weak.txt 2> /dev/null | grep -qE 'PYSEC|GHSA|CVE' || \
	{ echo "error: the service that knows weaknesses was not reached, or knows none: nothing was compared" >&2; exit 2; }
	.venv/audit/bin/pip-audit $(AUDIT) --requirement constraints.txt

constraints: .venv/ready
	sed '/^[^#]/d' constraints.txt > .venv/constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+.*//' | sort -f >> .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt

pictures:
	mkdir -p docs
	cp $(FORECAST)lastTest.png datasets/$(NAME)/movement/quicklooks/arrows.png docs/

.venv/ready: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; name another, as: make PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) lacks venv; on Debian or Ubuntu: sudo apt install python3-venv, then make again" >&2; exit 1; }
	@echo "── Setting up .venv with the packages of requirements.txt: once, some minutes; each is named as it comes ──"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -r requirements.txt -c constraints.txt
	@touch $@
	@echo "── .venv is ready: in each new terminal, source .venv/bin/activate ──"

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache
