"""The schedules that the worker processes of `test_schedules` have."""

from sqlalchemy import text

from uow import TaskContext, cron, task

SCHEDULES = 3

NOTE = text("INSERT INTO tick_effect VALUES (:n, :tick, clock_timestamp())")


@task("cron.note")
async def note(ctx: TaskContext, n: int) -> None:
    async with ctx["db"].get_session() as session:
        await session.execute(NOTE, {"n": n, "tick": ctx["task"].tick})


for number in range(SCHEDULES):
    cron("* * * * * *", arguments={"n": number})(note)
