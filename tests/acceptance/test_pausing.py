"""Pausing at the shell."""

import json
import re
from collections.abc import Callable

from tests.acceptance import tasks
from tests.processes import WorkerProcess, run_command
from uow import Settings, TaskClient, TaskState


async def test_a_queue_is_paused_listed_and_resumed(
    settings: Settings, client: TaskClient, start_worker: Callable[..., WorkerProcess]
) -> None:
    paused = await run_command(
        settings, "queues", "pause", settings.queue, "--reason", "an incident", "--until", "2h"
    )
    assert (paused.returncode, paused.stdout) == (0, f"queue {settings.queue} paused\n")
    handle = await client.enqueue(tasks.effect, what="once")
    burst = await run_command(settings, "run", "--burst")
    assert burst.returncode == 0, burst.stderr
    assert await handle.status() is TaskState.QUEUED
    listed = await run_command(settings, "pauses", "--json")
    one = json.loads(listed.stdout)
    assert (one["kind"], one["target"], one["reason"]) == ("queue", settings.queue, "an incident")
    assert (await run_command(settings, "queues", "resume", settings.queue)).returncode == 0
    assert one["since"].endswith("Z")
    again = await run_command(settings, "queues", "resume", settings.queue)
    assert (again.returncode, again.stdout) == (1, f"queue {settings.queue} is not paused\n")
    assert (await run_command(settings, "pauses")).stdout == "nothing is paused\n"


async def test_a_reason_is_shown_to_a_terminal_and_not_obeyed(settings: Settings) -> None:
    await run_command(settings, "users", "pause", "ann", "--reason", "\x1b[2Jgone")
    (line,) = (await run_command(settings, "pauses")).stdout.splitlines()
    assert re.fullmatch(
        r"user ann since \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, by .+: \\x1b\[2Jgone", line
    )


async def test_what_is_meant_is_to_be_said(settings: Settings) -> None:
    for given, said in (
        (("queues", "pause"), "say which queue"),
        (("queues", "pause", "--all", "x"), "name no queue beside it"),
        (("users", "pause", "ann", "--until", "soon"), "until=soon is no moment"),
        (("names", "pause", "x", "--until", "2020-01-01"), "that is over"),
    ):
        refused = await run_command(settings, *given)
        assert refused.returncode == 1
        assert said in refused.stderr
