"""What a process has of its own whose engine is arq's: a heart, and leases that it keeps."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from arq.connections import ArqRedis

from uow.attempt.running import Running
from uow.broker.patient import PatientRedis
from uow.broker.redis import apart, have_connection
from uow.process.heart import Heart
from uow.settings.environment import Settings
from uow.stock.leases import StockLeases


@dataclass(frozen=True, slots=True)
class StockBody:
    """Lent to the process as our own engine lends its parts.

    Attributes:
        claims: arq's connection, if it can be told to show nothing.
    """

    name: str
    heart: Heart
    running: Running
    leases: StockLeases
    claims: PatientRedis | None


async def start_body(
    stack: AsyncExitStack,
    settings: Settings,
    name: str,
    redis: ArqRedis,
    claims: PatientRedis | None,
) -> StockBody:
    """Start the heart and keep leases, until `stack` is closed.

    Args:
        redis: For the first hold of a lease; the heart has a connection of its own.
    """
    running = Running()
    heart = Heart(settings.stall_limit, running.describe)
    stack.push_async_callback(heart.end)
    await heart.begin()
    beats = apart(redis)
    stack.push_async_callback(lambda: heart.run(beats.aclose()))
    await heart.run(have_connection(beats))
    leases = StockLeases(running, redis, beats, settings.queue, settings.lease_seconds)
    stack.push_async_callback(await heart.keep(leases))
    return StockBody(name, heart, running, leases, claims)
