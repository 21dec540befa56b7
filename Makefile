# Everything that must hold: `make check`. Needs uv only.
.PHONY: check lint types test

check: lint types test

lint:
	uv run ruff format --check .
	uv run ruff check .

types:
	uv run mypy

test:
	uv run pytest
