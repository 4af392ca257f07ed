"""The page of workers."""

from uuid import uuid4

import httpx

from tests.integration.api.pages.looking import HOSTILE, look
from tests.integration.test_numbers import say
from uow import Database

PROCESS = (
    "INSERT INTO worker_process (id, app, queue, running, host, pid, version, slots, busy, lag, "
    "pool_busy, pool_idle, pool_room, heartbeat_at, leaving) VALUES "
)


async def test_it_says_what_each_is_and_runs(api: httpx.AsyncClient, db: Database) -> None:
    task = uuid4()
    await say(db, "INSERT INTO task (id, name, queue, state, worker, started_at, dispatch_at, "
              "attempt) VALUES (:id, 'f', 'mail', 'running', 'w1', now(), 'infinity', 3)",
              id=task)  # fmt: skip
    await say(db, PROCESS + "('w1', 'shop', 'mail,a/b', ARRAY[CAST(:id AS uuid)], 'web-1', 17, "
              "'1.0', 10, 4, 2.5, 3, 2, 5, now(), false)", id=task)  # fmt: skip
    await say(db, "INSERT INTO worker_leader VALUES ('fleet', 'w1', now() + interval '1 hour')")
    page = await look(api, "/ui/workers")
    assert page.to("f") == f"/ui/tasks/{task}"
    assert page.to("a/b") == "/ui/queues/a%2Fb"
    for said in ("web-1, process 17; shop", "leads", "4 of 10", "attempt 3", "2.5 s",
                 "3 busy, 2 idle, room for 5", "Slots free 6 of 10"):  # fmt: skip
        assert said in page.text
    assert "several versions" not in page.text


async def test_what_is_wrong_is_said(api: httpx.AsyncClient, db: Database) -> None:
    none = "NULL, NULL, NULL, NULL, NULL, NULL"
    await say(db, PROCESS + f"('w1', 'a', 'q', '{{}}', 'h', 1, '1.0', {none}, now(), true), "
              f"('w2', 'a', 'q', '{{}}', 'h', 2, '2.0', {none}, now(), false), "
              f"('w3', 'a', 'q', '{{}}', NULL, NULL, NULL, {none}, now() - interval '1 hour', "
              "false)")  # fmt: skip
    page = await look(api, "/ui/workers")
    for said in ("They run several versions: 1.0, 2.0.", "No worker leads", "leaving", "dead",
                 "1 without a heartbeat", "a worker does not say"):  # fmt: skip
        assert said in page.text


async def test_without_any_it_says_what_to_do(api: httpx.AsyncClient) -> None:
    page = await look(api, "/ui/workers")
    assert "No worker lives: nothing runs. Start one with worker run." in page.text


async def test_hostile_names_are_text(api: httpx.AsyncClient, db: Database) -> None:
    await say(db, PROCESS + "(:it, :it, :it, '{}', :it, 1, :it, 1, 1, 0, 1, 1, 1, now(), false)",
              it=HOSTILE)  # fmt: skip
    assert (await look(api, "/ui/workers")).text.count("<script>alert(1)</script>") >= 5
