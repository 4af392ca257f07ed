"""`worker tokens`, as a person meets it."""

import json
from pathlib import Path

import pytest

from tests.processes import run_command
from uow import Settings
from uow.api.roles import Caller, Role
from uow.api.tokens import KnownTokens


async def test_a_token_is_made_listed_and_revoked(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    made = await run_command(
        settings, "tokens", "new", "ci", "--role", "enqueuer", "--file", str(file)
    )
    assert made.returncode == 0, made.stderr
    (token,) = made.stdout.split()
    assert token not in made.stderr + file.read_text()
    assert KnownTokens((), file).find(token.encode()) == Caller("ci", Role.ENQUEUER)

    again = await run_command(
        settings, "tokens", "new", "ci", "--role", "admin", "--file", str(file)
    )
    assert (again.returncode, again.stdout) == (1, "")
    assert "has a token 'ci'" in again.stderr
    assert "Traceback" not in again.stderr

    listed = await run_command(settings, "tokens", "list", "--json", "--file", str(file))
    assert [json.loads(line) for line in listed.stdout.splitlines()] == [
        {"name": "ci", "role": "enqueuer"}
    ]

    revoked = await run_command(settings, "tokens", "revoke", "ci", "--file", str(file))
    assert revoked.returncode == 0
    assert file.read_text() == ""


@pytest.mark.parametrize("role", ["root", ""])
async def test_a_role_that_there_is_not_is_refused(
    settings: Settings, tmp_path: Path, role: str
) -> None:
    file = tmp_path / "tokens"
    refused = await run_command(
        settings, "tokens", "new", "ci", "--role", role, "--file", str(file)
    )
    assert refused.returncode == 2
    assert "operator" in refused.stderr
    assert not file.exists()


async def test_without_a_file_it_says_how_to_name_one(settings: Settings) -> None:
    refused = await run_command(settings, "tokens", "list")
    assert refused.returncode == 1
    assert "Say --file, or set WORKER_API_TOKENS_FILE" in refused.stderr
