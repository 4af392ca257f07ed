"""What a worker process says of itself with each heartbeat, for whoever asks the fleet."""

from collections.abc import Callable

from uow.attempt.running import Running
from uow.attempt.runtime import Runtime
from uow.db.database import Database
from uow.db.profile import Signs
from uow.events.processes import LoopBlocked
from uow.events.spine import Spine
from uow.metrics.workers import Lag, busy_slots, connections_of
from uow.process.heart import Heart


def signs_of(
    runtime: Runtime, db: Database, heart: Heart, running: Running, events: Spine
) -> Callable[[], Signs]:
    """Tells how a process is that has started; may be called from any thread."""
    lag = Lag(heart)
    events.listen(lag.hear, LoopBlocked)

    def signs() -> Signs:
        busy, idle, room = connections_of(db.engine)
        return Signs(
            busy=busy_slots(running, runtime.calling.threads),
            lag=round(lag(), 3),
            pool_busy=busy,
            pool_idle=idle,
            pool_room=room,
        )

    return signs
