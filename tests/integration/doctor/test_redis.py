"""What is wrong with Redis."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from pydantic import SecretStr

from tests.integration.doctor.conftest import Find
from tests.redis_commands import command
from uow.broker.facts import RedisFacts, redis_facts
from uow.broker.redis import RedisClient
from uow.embedded import EmbeddedRedis
from uow.questions.doctor import redis as subject
from uow.questions.doctor.visit import CodeHere

pytestmark = pytest.mark.usefixtures("healthy")


@pytest.fixture
async def facts(redis: RedisClient) -> RedisFacts:
    """What it really says."""
    return await redis_facts(redis)


@pytest.fixture
async def configured(redis: RedisClient) -> AsyncIterator[RedisClient]:
    """A Redis whose configuration is put right afterwards."""
    yield redis
    for name, value in (("maxmemory", "0"), ("maxmemory-policy", "noeviction"), ("save", "")):
        await redis.config_set(name, value)


def pretend(monkeypatch: pytest.MonkeyPatch, facts: RedisFacts, **other: object) -> None:
    async def pretended(_: RedisClient) -> RedisFacts:
        return replace(facts, **other)  # type: ignore[arg-type]

    monkeypatch.setattr(subject, "redis_facts", pretended)


async def test_what_throws_keys_away_is_told_where_there_is_a_limit(
    find: Find, configured: RedisClient
) -> None:
    await configured.config_set("maxmemory-policy", "volatile-lru")
    assert await find() == {}
    await configured.config_set("maxmemory", "4gb")
    assert {*(found := await find())} == {"redis.policy"}
    assert found["redis.policy"].proof == "maxmemory-policy is volatile-lru"


@pytest.mark.parametrize(
    ("share", "told"), [(0.5, set()), (0.85, {"redis.memory"}), (1.2, {"redis.memory-short"})]
)
async def test_how_full_it_is_is_told(
    find: Find, configured: RedisClient, facts: RedisFacts, share: float, told: set[str]
) -> None:
    await configured.config_set("maxmemory", str(int(facts.used / share)))
    assert {*await find()} == told


async def test_one_without_a_limit_is_compared_with_its_machine(
    find: Find, facts: RedisFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, facts, machine=facts.used)
    assert {*await find()} == {"redis.memory-short"}


@pytest.mark.parametrize(
    ("server", "version", "told"),
    [
        ("redis", (6, 0, 16), {"redis.version"}),
        ("redis", (6, 2), set()),
        ("redis", (10, 0), set()),
        ("valkey", (1, 0), set()),
    ],
)
async def test_a_redis_that_is_too_old_is_told(
    find: Find,
    facts: RedisFacts,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    version: tuple[int, ...],
    told: set[str],
) -> None:
    pretend(monkeypatch, facts, server=server, version=version)
    assert {*await find()} == told


async def test_one_that_cannot_save_is_told(
    find: Find, facts: RedisFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, facts, failing="rdb_last_bgsave_status")
    assert {*await find()} == {"redis.saving-fails"}


async def test_one_that_saves_nothing_is_told_where_there_are_rowless_functions(
    find: Find, configured: RedisClient
) -> None:
    rowless = CodeHere(rowless=("mail.track",))
    assert await find() == {}
    assert "mail.track" in (await find(rowless))["redis.unsaved"].proof
    await configured.config_set("save", "3600 1")
    assert await find(rowless) == {}


async def test_what_a_user_of_its_own_may_not_do_is_told_with_the_line_that_mends_it(
    find: Find, redis: RedisClient, redis_server: EmbeddedRedis
) -> None:
    rights = "~arq:* ~worker:* &worker:* +@read +@write +@connection +@scripting +@transaction"
    say = f"ACL SETUSER weak reset on >pa55word {rights} +type +time +info +publish -zadd"
    await command(redis, *say.split())
    url = SecretStr(redis_server.url.replace("unix://", "unix://weak:pa55word@"))
    try:
        found = await find(redis_url=url)
        assert {*found} == {"redis.acl"}
        assert found["redis.acl"].mend == "ACL SETUSER weak +zadd"
        await command(redis, *found["redis.acl"].mend.split())
        assert await find(redis_url=url) == {}
        await command(redis, *["ACL", "SETUSER", "weak", "-publish"])
        assert {*await find(redis_url=url)} == {"redis.acl-optional"}
        unsaid = await find(CodeHere(rowless=("mail.track",)), redis_url=url)
        assert {*unsaid} == {"redis.acl-optional", "redis.saving-unknown"}
        assert "pa55word" not in str(unsaid)
        await command(redis, *["ACL", "SETUSER", "weak", "+publish", "-info"])
        assert "doctor.unlooked" in await find(redis_url=url)
    finally:
        await command(redis, "ACL", "DELUSER", "weak")
