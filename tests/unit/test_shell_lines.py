"""The lines that a page offers for a shell: what others have named stays a word in them."""

import subprocess

import pytest

from uow.api.pages.shell_lines import quoted, worker_line

NAMES = [
    "mail", "a b", "it's", "$(id)", "`id`", "!!", "\\", "a\\'b", "ü☃", "", "~", "a;b", "#x", "*",
    "a\nb", "\x03\nid\n", "\x1b[2J", "it's\x07\\", "\x85", "\u202egnp.exe", "\u2028",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_reads_what_was_named_as_one_word(name: str) -> None:
    said = subprocess.run(
        ["/bin/bash", "-c", f"printf %s. {quoted(name)}"],
        capture_output=True, check=True, timeout=10, env={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert said.stdout.decode() == f"{name}."


def test_no_character_that_a_terminal_obeys_is_in_a_line() -> None:
    line = worker_line("users", "pause", about="x\x03\nid\n\x1b]0;\u202e", reason="\r\x00")
    assert line.isprintable()


def test_a_name_that_looks_like_an_option_is_none() -> None:
    assert worker_line("queues", "pause", about="--all", until="2h") == (
        "worker queues pause --until=2h -- --all"
    )
    assert worker_line("queues", "pause", about="mail") == "worker queues pause mail"
