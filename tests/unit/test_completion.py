"""What a shell completes of ``worker``: commands, groups, options and their values."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from uow.cli import completion
from uow.db.models import TaskState
from uow.tasks.options import Unique

RUN = "from uow.cli import app; app(prog_name='worker')"

CASES = [
    ("worker doc", {"doctor"}),
    ("worker cron p", {"pause", "preview"}),
    ("worker queue ", {"take-over"}),
    ("worker doctor --j", {"--json"}),
    ("worker enqueue --unique ", {"unsettled", "waiting"}),
    ("worker enqueue --unique w", {"waiting"}),
]


def asked(**environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", RUN],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip


@pytest.mark.parametrize(("line", "words"), CASES)
def test_bash_is_told_the_words(line: str, words: set[str]) -> None:
    at = str(len(line.split(" ")) - 1)
    told = asked(COMP_WORDS=line, COMP_CWORD=at, _WORKER_COMPLETE="complete_bash")
    assert {*told.split()} == words


@pytest.mark.parametrize(("line", "words"), CASES)
def test_zsh_is_told_the_words(line: str, words: set[str]) -> None:
    told = asked(_TYPER_COMPLETE_ARGS=line, _WORKER_COMPLETE="complete_zsh")
    listed = told.partition(":((")[2].rpartition("))")[0].splitlines()
    assert {one.split('"')[1] for one in listed} == words


@pytest.mark.parametrize(("line", "words"), CASES)
def test_fish_is_told_the_words(line: str, words: set[str]) -> None:
    told = asked(
        _TYPER_COMPLETE_ARGS=line, _WORKER_COMPLETE="complete_fish",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )  # fmt: skip
    assert {one.partition("\t")[0] for one in told.splitlines()} == words


def test_a_long_description_is_one_word_for_fish_and_not_two() -> None:
    told = asked(
        _TYPER_COMPLETE_ARGS="worker ", _WORKER_COMPLETE="complete_fish",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    ).splitlines()  # fmt: skip
    assert max(map(len, told)) > 80
    assert all("\t" in one for one in told)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    assert f"_WORKER_COMPLETE=complete_{shell}" in asked(_WORKER_COMPLETE=f"source_{shell}")


def test_the_script_works_in_bash(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    worker = tmp_path / "worker"
    worker.write_text(f"#!{sys.executable}\n{RUN}\n")
    worker.chmod(0o755)
    script = """
        eval "$(_WORKER_COMPLETE=source_bash worker)"
        COMP_WORDS=(worker cron pre); COMP_CWORD=2
        _worker_completion worker
        echo "${COMPREPLY[@]}"
    """
    path = f"{tmp_path}:{os.environ['PATH']}"
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        env={**os.environ, "PATH": path, "PYTHONPATH": root},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "preview\n", done.stderr


def test_several_words_are_completed_one_after_the_other() -> None:
    assert completion.states("fai") == ["failed"]
    assert completion.states("failed,can") == ["failed,cancelled"]
    assert completion.states("failed,f") == []


def test_the_words_are_those_that_there_are() -> None:
    assert {*completion.STATES} == {*TaskState}
    assert completion.unique("") == list(get_args(Unique))


def test_help_takes_a_quarter_of_a_second_of_a_processor_at_most() -> None:
    """The fastest of three: whatever else runs here, and whether or not modules are compiled."""
    import resource

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "uow", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.25
