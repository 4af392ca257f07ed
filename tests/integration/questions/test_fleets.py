"""Random fleets in real tables and a real Redis: each task's answer is what a plain look at all of
it says."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from uow import Database, Settings
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.db import fleet
from uow.db.code import Code, say_code
from uow.questions.reasons import Reason
from uow.questions.why import why

QUEUES = ("left", "right")
KNOWN, STRANGE = Code.of(["known"]), Code.of(["strange"])
HOUR = timedelta(hours=1)
SEEDS = range(12)

PUT_TASK = text(
    "INSERT INTO task (id, name, queue, state, run_at, dispatch_at, deaths, alone, worker, "
    "settled_at, started_at) VALUES (:id, 'known', :queue, :state, :run_at, "
    "CASE WHEN :pushed THEN 'infinity' ELSE now() END, :deaths, :alone, :worker, "
    "CASE WHEN :state = 'succeeded' THEN now() END, now())"
)
PUT_PROCESS = text(
    "INSERT INTO worker_process (id, queue, running, leaving, heartbeat_at, code, slots, busy) "
    "VALUES (:id, :queue, '{}', :leaving, now() - CASE WHEN :lives THEN interval '0' "
    "ELSE interval '1 day' END, :code, :slots, :busy)"
)


@dataclass
class OneProcess:
    id: str
    queues: list[str]
    lives: bool
    leaving: bool
    code: Code | None
    slots: int | None
    busy: int | None

    def may_claim(self, queue: str) -> bool:
        return self.lives and not self.leaving and queue in self.queues

    @property
    def is_full(self) -> bool:
        return self.slots is not None and self.busy is not None and self.busy >= self.slots


@dataclass
class OneTask:
    id: UUID
    queue: str
    state: str
    late: bool
    pushed: bool
    deaths: int
    alone: bool
    worker: str | None
    score: int | None
    held: bool


@dataclass
class Fleet:
    led: bool
    processes: list[OneProcess] = field(default_factory=list)
    tasks: list[OneTask] = field(default_factory=list)

    @classmethod
    def drawn(cls, rng: random.Random) -> "Fleet":
        made = cls(led=rng.random() < 0.5)
        codes = rng.choice([[KNOWN, STRANGE], [KNOWN], [STRANGE]])
        for number in range(rng.choice([0, 2, 3, 4, 5])):
            made.processes.append(
                OneProcess(
                    id=f"p{number}",
                    queues=rng.choice([["left"], ["right"], ["right", "left"]]),
                    lives=rng.random() < 0.9,
                    leaving=rng.random() < 0.1,
                    code=rng.choice([*codes, *codes, None]),
                    slots=rng.choice([None, 1, 2, 2, 2, 2]),
                    busy=rng.choice([None, 0, 2, 2, 2, 2]),
                )
            )
        made.tasks = [made.task(rng) for _ in range(25)]
        return made

    def task(self, rng: random.Random) -> OneTask:
        state = rng.choice(["queued", "queued", "retrying", "scheduled", "running", "succeeded"])
        runs, settled = state == "running", state == "succeeded"
        workers = [*(one.id for one in self.processes), "gone"]
        now = int(datetime.now(UTC).timestamp() * 1000)
        scores = [None, None, 1, now - 1000, now - 500, now + 3_600_000]
        return OneTask(
            id=UUID(int=rng.getrandbits(128)),
            queue=rng.choice(QUEUES),
            state=state,
            late=runs or rng.random() < 0.8,
            pushed=rng.random() < 0.7,
            deaths=rng.choice([0, 0, 0, 0, 0, 1, 2, 3]),
            alone=runs and rng.random() < 0.5,
            worker=rng.choice(workers) if runs else None,
            score=None if settled else rng.choice(scores),
            held=rng.random() < 0.2,
        )

    async def put(self, db: Database, redis: RedisClient) -> None:
        for code in (KNOWN, STRANGE):
            await say_code(db, code)
        if self.led:
            await fleet.lead(db, "p0", 60)
        for process in self.processes:
            said = {
                "id": process.id,
                "queue": ",".join(process.queues),
                "lives": process.lives,
                "leaving": process.leaving,
                "code": None if process.code is None else process.code.fingerprint,
                "slots": process.slots,
                "busy": process.busy,
            }
            await db.execute_once(PUT_PROCESS, said)
        for task in self.tasks:
            run_at = datetime.now(UTC) + (-HOUR if task.late else HOUR)
            names = ("id", "queue", "state", "pushed", "deaths", "alone", "worker")
            values = {name: getattr(task, name) for name in names}
            await db.execute_once(PUT_TASK, {**values, "run_at": run_at})
            if task.score is not None:
                await redis.zadd(task.queue, {str(task.id): task.score})
            if task.held:
                await redis.set(keys.in_progress(str(task.id)), "token", px=600_000)

    def in_front_of(self, task: OneTask) -> int:
        assert task.score is not None
        return sum(
            other.score is not None
            and other.queue == task.queue
            and not other.held
            and (other.score, str(other.id)) < (task.score, str(task.id))
            for other in self.tasks
        )

    def answer(self, task: OneTask) -> str:  # noqa: C901 - the list, line by line
        claiming = [one for one in self.processes if one.may_claim(task.queue)]
        living = {one.id for one in self.processes if one.lives}
        if task.state == "succeeded":
            return "settled"
        if task.state == "running" and task.worker in living:
            return "suspect" if task.deaths >= 2 and not task.alone else "running"
        if not task.late:
            return "not_due"
        if not claiming:
            return "unserved"
        if all(one.code is STRANGE for one in claiming):
            return "unknown_function"
        if task.state != "running" and task.deaths >= 2:
            return "suspect"
        if task.state == "running":
            return "being_rescued"
        if task.score is None and task.pushed:
            return "being_rescued" if self.led else "leader_gone"
        if task.score is None or task.held:
            return "about_to_start"
        if task.score > datetime.now(UTC).timestamp() * 1000:
            return "handed_back"
        if number := self.in_front_of(task):
            return f"in_front {number}"
        able = [one for one in claiming if one.code is not STRANGE]
        return "no_free_slot" if all(one.is_full for one in able) else "about_to_start"


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_task_of_a_random_fleet_gets_its_one_true_reason(
    seed: int, db: Database, redis: RedisClient, settings: Settings
) -> None:
    drawn = Fleet.drawn(random.Random(seed))
    await drawn.put(db, redis)
    patient = settings.model_copy(update={"lease_seconds": 600.0})
    for task in drawn.tasks:
        reason = await why(db, redis, patient, task.id)
        tasks = getattr(reason, "tasks", None)
        said = reason.name if tasks is None else f"{reason.name} {tasks}"
        assert said == drawn.answer(task), (task, drawn.processes)


def test_these_fleets_have_every_reason_that_a_redis_that_answers_leaves() -> None:
    fleets = [Fleet.drawn(random.Random(seed)) for seed in SEEDS]
    given = {one.answer(task).split()[0] for one in fleets for task in one.tasks}
    assert given == {kind.name for kind in Reason.__subclasses__()} - {"redis_away", "paused"}
