.PHONY: help check test newest lowest matrix constraints

help:  ## Say what there is.
	@sed -n 's/^\([a-z]*\):.*## /\1 /p' Makefile | while read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

check:  ## Format, lint, types, imports.
	.ci/check

test:  ## All tests, or some: make test ARGS="-n 0 tests/unit"
	uv run pytest $(ARGS)

newest:  ## The tests on the newest of everything, in a copy without the exact versions; ARGS as above.
	uv run --no-project tools/versions.py newest $(ARGS)

lowest:  ## A quick part of the tests on the lowest of each dependency that we allow; ARGS as above.
	uv run --no-project tools/matrix.py --only lowest $(ARGS)

matrix:  ## The same on each version that we name, of Python, SQLAlchemy, redis-py and Redis.
	uv run --no-project tools/matrix.py $(ARGS)

constraints:  ## Write the exact versions in pyproject.toml anew: the newest that the ranges allow.
	uv run --no-project tools/versions.py pin
