.PHONY: help fix check one docs site screenshots wheel types test newest lowest matrix constraints

help:  ## Say what there is.
	@sed -n 's/^\([a-z]*\):.*## /\1 /p' Makefile | while read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

fix:  ## Format, and mend what the linter can mend.
	uv run ruff format .
	uv run ruff check --fix .

check:  ## Format, lint, types, imports.
	.ci/check

one:  ## One test, or a file of them, without other processes: make one T=tests/unit/test_retry.py
	uv run pytest -n 0 -q $(T)

docs:  ## What README and docs/ say: names, settings, commands and examples.
	uv run pytest -q $(DOCS)

site:  ## Build the documentation, strictly, into site/.
	uv run --group docs tools/build_site.py

screenshots:  ## Take the pictures of the pages in docs/assets anew, in Chromium.
	uv run tools/screenshots.py

wheel:  ## Build the wheel, install it alone, and do a task's whole way with it.
	uv run --no-project tools/try_wheel.py

types:  ## Users' code in the eyes of mypy and pyright.
	uv run mypy tests/typing
	uv run pytest -q tests/unit/test_types.py

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

# What reads README.md or docs/.
DOCS = tests/test_architecture.py tests/unit/test_settings.py tests/integration/test_ctx.py \
       tests/integration/test_roles.py tests/acceptance/test_readme.py \
       tests/acceptance/test_migrating.py tests/acceptance/test_schedules_doc.py \
       tests/acceptance/test_applications_doc.py tests/acceptance/test_sync_services_doc.py \
       tests/acceptance/test_extending_doc.py tests/conformance/test_redis_rights.py \
       tests/unit/test_site.py tests/acceptance/test_tutorial.py tests/acceptance/test_how_to.py
