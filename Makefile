# Everything that must hold: `make check`. Needs uv only.
.PHONY: check lint types test test-vllm

check: lint types test

lint:
	uv run ruff format --check .
	uv run ruff check .

types:
	uv run mypy

test:
	uv run pytest

# The real vLLM server, set up from nothing: minutes, and gigabytes.
test-vllm:
	tests/vllm/lane
