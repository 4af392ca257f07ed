"""What joins us with other products is imported by who asks for it, and by nobody else."""

import subprocess
import sys

import pytest

from tests.processes import ROOT

PACKAGES = {"otel": "opentelemetry", "sentry": "sentry_sdk"}

IMPORTED = "import sys, uow.main, uow.run, uow.client; print(*PACKAGES & sys.modules.keys())"


def test_a_worker_that_does_not_ask_for_it_imports_nothing_of_it() -> None:
    code = f"PACKAGES = {set(PACKAGES.values())!r}\n{IMPORTED}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("extra", PACKAGES)
def test_without_its_extra_it_says_what_to_install(extra: str) -> None:
    code = f"import sys; sys.modules[{PACKAGES[extra]!r}] = None; import uow.contrib.{extra}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert f"uow.contrib.{extra} needs {PACKAGES[extra]}" in done.stderr
    assert f"pip install 'uow-worker[{extra}]'" in done.stderr
