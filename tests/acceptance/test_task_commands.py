"""`worker tasks list`, `show` and `tail`, as a user types it."""

import json
import os
from collections.abc import Awaitable, Callable
from subprocess import CompletedProcess
from typing import Annotated
from uuid import UUID, uuid4

import pytest

from tests.acceptance import tasks
from tests.processes import run_command
from uow import Private, Settings, TaskClient, TaskContext, task
from uow.app import AppParts
from uow.cli.listed_tasks import follow
from uow.cli.plain import plain
from uow.cli.shown_task import show_one
from uow.tasks.registry import default_registry

Command = Callable[..., Awaitable[CompletedProcess[str]]]

FIELDS = ["id", "name", "state", "queue", "user_id", "created_at", "run_at", "settled_at", "tries",
          "attempt"]  # fmt: skip


@pytest.fixture
def command(settings: Settings) -> Command:
    async def run(*arguments: str, fails: bool = False) -> CompletedProcess[str]:
        done = await run_command(settings, "tasks", *arguments)
        assert done.returncode == int(fails), done.stderr
        return done

    return run


async def enqueue(client: TaskClient, *texts: str, user_id: str | None = None) -> list[str]:
    effect = tasks.effect.options(user_id=user_id)
    return [str((await client.enqueue(effect, what=what)).id) for what in texts]


async def test_a_list_is_an_object_per_line_and_goes_on(
    client: TaskClient, command: Command
) -> None:
    ids = await enqueue(client, "a", "b", user_id="7")
    await enqueue(client, "c")
    first = await command("list", "--json", "--user", "7", "--limit", "1", "--state", "queued")
    (line,) = first.stdout.splitlines()
    found = json.loads(line)
    assert list(found) == FIELDS
    assert (found["id"], found["state"], found["user_id"]) == (ids[1], "queued", "7")
    assert first.stderr == f"the list goes on with --after {ids[1]}\n"
    second = await command("list", "--json", "--user", "7", "--after", ids[1])
    assert [json.loads(line)["id"] for line in second.stdout.splitlines()] == [ids[0]]
    assert second.stderr == ""
    shown = await command("list", "--oldest", "--arg", "what=c", "--since", "1h")
    heading, line = shown.stdout.splitlines()
    assert line[heading.index("name") :].split() == ["accept.effect", "0", "arq:queue", "-"]
    assert ids[0] not in shown.stdout


async def test_an_empty_list_says_so(command: Command) -> None:
    assert (await command("list", "--name", "x.*")).stdout == "there are none\n"


@pytest.mark.parametrize(("arguments", "told"), [
    (["list", "--state", "done"], "state=done: there is no such state"),
    (["list", "--since", "soon"], "since=soon is no moment"),
    (["list", "--arg", "api_key=x"], "arg:api_key is redacted"),
    (["list", "--limit", "0"], "limit=0 is not a number from 1 to 200"),
    (["list", "--after", "x"], "'x' is no place in this list"),
    (["show", "x"], "'x' is not the id of a task"),
    (["tail", "--state", "done"], "state=done: there is no such state"),
])  # fmt: skip
async def test_what_is_not_understood_is_one_line(
    command: Command, arguments: list[str], told: str
) -> None:
    done = await command(*arguments, fails=True)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_one_task_is_shown_in_full(client: TaskClient, command: Command) -> None:
    (id_,) = await enqueue(client, "\x1b[31mred")
    shown = (await command("show", id_)).stdout
    assert f"id:          {id_}" in shown
    assert "asked for" in shown
    assert "\x1b" not in shown
    found = json.loads((await command("show", id_, "--json")).stdout)
    assert (found["id"], found["args"]) == (id_, {"what": "\x1b[31mred"})
    assert [one["what"] for one in found["timeline"]] == ["asked for"]
    missing = uuid4()
    assert (
        f"Task id {missing} not found" in (await command("show", str(missing), fails=True)).stderr
    )


async def test_what_a_type_says_to_be_private_is_not_shown(
    client: TaskClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    @task(f"private.{os.getpid()}", registry=default_registry)
    async def private(ctx: TaskContext, card: Annotated[str, Private]) -> None: ...

    id_ = (await client.enqueue(private, card="4711")).id
    await show_one(AppParts(), settings, str(id_), as_json=False)
    assert 'args:        {"card":"[redacted]"}' in capsys.readouterr().out


async def test_a_task_module_that_is_not_there_is_told_of(
    client: TaskClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (id_,) = await enqueue(client, "a")
    lost = settings.model_copy(update={"task_modules": ("not.there",)})
    await show_one(AppParts(), lost, id_, as_json=True)
    said = capsys.readouterr()
    assert json.loads(said.out)["id"] == id_
    assert said.err.startswith("worker: only WORKER_REDACT says what is private: WORKER_TASK_MOD")


class Enough(Exception):
    """The test has seen enough."""


async def test_what_happens_is_followed(
    client: TaskClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = await enqueue(client, "a")
    new: list[str] = []

    async def pause(_: float) -> None:
        match len(new):
            case 0:
                new.extend(await enqueue(client, "b"))
            case 1:
                new.append(old)
                await client.cancel(UUID(old))
            case _:
                raise Enough

    with pytest.raises(Enough):
        await follow(AppParts(), settings, [("name", "accept.*")], as_json=True, pause=pause)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["id"], one["state"]) for one in told] == [
        (new[0], "queued"), (old, "cancelled"),
    ]  # fmt: skip


def test_a_terminal_is_shown_text_and_obeys_none() -> None:
    assert plain("a\tb\nü€") == "a\tb\nü€"
    assert plain("\x1b[2J\x07\x9b\u202e\r") == "\\x1b[2J\\x07\\x9b\\u202e\\r"
