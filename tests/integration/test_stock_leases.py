"""Leases under stock arq: kept while a job runs, and not a moment longer."""

from uuid import uuid4

from uow.attempt.running import Held, Running
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.stock.leases import StockLeases

QUEUE = "arq:queue"


class Outdated(Running):
    """Says who ran a moment ago: the attempts have ended since."""

    def all(self) -> list[Held]:
        before = super().all()
        for held in before:
            self.remove(held.job_id)
        return before


def leases(running: Running, redis: RedisClient) -> StockLeases:
    return StockLeases(running, redis, redis, QUEUE, 2.0)


def held() -> Held:
    return Held(str(uuid4()), QUEUE, 1000, b'{"f":"x"}')


async def test_a_job_that_is_just_being_finished_is_not_put_back(redis: RedisClient) -> None:
    running = Outdated()
    running.add(held())
    await leases(running, redis).run_once()
    assert await redis.keys("*") == []


async def test_what_redis_has_lost_of_a_running_job_is_put_back(redis: RedisClient) -> None:
    running, job = Running(), held()
    running.add(job)
    await leases(running, redis).run_once()
    assert await redis.zscore(QUEUE, job.job_id) == 1000
    assert await redis.get(keys.job(job.job_id)) == job.payload
    assert 0 < await redis.pttl(keys.in_progress(job.job_id)) <= 2000


async def test_a_lease_is_extended(redis: RedisClient) -> None:
    running, job = Running(), held()
    keeper = leases(running, redis)
    async with keeper.holding(job):
        await redis.pexpire(keys.in_progress(job.job_id), 100)
        await keeper.run_once()
        assert await redis.pttl(keys.in_progress(job.job_id)) > 1000
    assert job.job_id not in running
