"""Redis: its version, its memory, what it keeps, and what we may do in it."""

from uow.broker.access import check_access
from uow.broker.facts import RedisFacts, redis_facts
from uow.errors import SettingsError
from uow.questions.doctor.finding import Finding, broken, unknown, warning
from uow.questions.doctor.visit import Needs, Visit, check

OLDEST = (6, 2)

FULL_SHARE, SHORT_SHARE = 0.8, 0.95
"""Of its memory: somebody is to look at it; and it refuses writes soon, or is ended."""

OLD = broken("redis.version", "Scripts of ours use what this Redis does not have.")
EVICTS = broken("redis.policy", "Jobs and leases are thrown away: tasks start late, or twice.")
FULL = warning("redis.memory", "When it is full it refuses every push.")
SHORT = broken("redis.memory-short", "It refuses pushes now, or will in a moment.")
REFUSED = broken("redis.acl", "A worker with this user does not start.")
SLOWER = warning("redis.acl-optional", "A worker goes on without it, but is slower.")
FORGETS = warning("redis.unsaved", "Rowless tasks are lost with the Redis that they are in.")
FAILS = broken("redis.saving-fails", "By default it refuses all writes until saving works again.")
UNTOLD = unknown("redis.saving-unknown", "Whether rowless tasks outlive a restart is not known.")


@check(Needs.REDIS)
async def version(visit: Visit) -> list[Finding]:
    """Whether it is new enough."""
    facts = await redis_facts(visit.redis)
    if facts.server == "valkey" or facts.version >= OLDEST:
        return []
    said = ".".join(map(str, facts.version))
    return [OLD.found(f"it is {said}", "upgrade it to 6.2 or later, or to Valkey")]


@check(Needs.REDIS)
async def memory(visit: Visit) -> list[Finding]:
    """How full it is, and what it does when it is."""
    facts = await redis_facts(visit.redis)
    found = []
    if facts.most and facts.policy != "noeviction":
        said = f"maxmemory-policy is {facts.policy}"
        found.append(EVICTS.found(said, "CONFIG SET maxmemory-policy noeviction"))
    if (fullness := _fullness(facts)) is not None:
        found.append(fullness)
    return found


def _fullness(facts: RedisFacts) -> Finding | None:
    most, what = (facts.most, "maxmemory") if facts.most else (facts.machine, "its machine's")
    if not most or facts.used <= FULL_SHARE * most:
        return None
    kind = SHORT if facts.used > SHORT_SHARE * most else FULL
    said = f"{facts.used / 2**20:,.0f} MiB of {most / 2**20:,.0f} MiB ({what}) are used"
    return kind.found(said, "CONFIG SET maxmemory with more, or see what else is in it")


@check(Needs.REDIS)
async def acl(visit: Visit) -> list[Finding]:
    """Whether our user may do what a worker needs; each command tried on nobody's entries."""
    try:
        lacking = await check_access(visit.redis, visit.settings.served_queues)
    except SettingsError as error:
        said, _, mend = str(error).partition(": ACL SETUSER")
        return [REFUSED.found(said, f"ACL SETUSER{mend}" if mend else "see the proof")]
    if lacking is None:
        return []
    said, _, mend = lacking.partition(": ACL SETUSER")
    return [SLOWER.found(said, f"ACL SETUSER{mend}")]


@check(Needs.REDIS)
async def saving(visit: Visit) -> list[Finding]:
    """Whether it keeps what lives in it alone, and can."""
    facts = await redis_facts(visit.redis)
    if facts.failing is not None:
        mend = "look at its log and its disk"
        return [FAILS.found(f"INFO persistence: {facts.failing} is not ok", mend)]
    if not visit.code.rowless or facts.keeps:
        return []
    names = ", ".join(visit.code.rowless[:5])
    if facts.keeps is None:
        said = f"CONFIG is not open to us; rowless functions: {names}"
        return [UNTOLD.found(said, "see that it has appendonly yes")]
    said = f"neither appendonly nor save is on; rowless functions: {names}"
    return [FORGETS.found(said, "CONFIG SET appendonly yes")]
