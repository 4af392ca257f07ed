"""When arq's cron jobs are due under our worker: an oracle that knows nothing but the clocks, and a
worker that is led through their changes."""

import itertools
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.utils import to_unix_ms

from tests.integration.arq.clock import Clock, connected, pushed
from tests.integration.arq.conftest import Context, Make
from uow.errors import SettingsError
from uow.fast.arq.times import ArqTimes, zone_of
from uow.fast.worker import FastWorker
from uow.schedules.wallclock import WallClock, wall_clock

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

CHANGES = [
    (zone, datetime.fromisoformat(at))
    for zone, *changes in [
        ("America/New_York", "2026-03-08T07:00Z", "2026-11-01T06:00Z"),
        ("America/Santiago", "2026-09-06T04:00Z", "2026-04-05T03:00Z"),  # at midnight
        ("Antarctica/Troll", "2026-03-29T01:00Z", "2026-10-25T01:00Z"),  # by two hours
        ("Australia/Lord_Howe", "2026-10-03T15:30Z", "2026-04-04T15:00Z"),  # by half an hour
        ("Europe/Berlin", "2026-03-29T01:00Z", "2026-10-25T01:00Z"),
        ("Pacific/Chatham", "2026-09-26T14:00Z", "2026-04-04T14:00Z"),  # at a quarter to three
    ]
    for at in changes
]


async def tick(ctx: Context) -> None: ...


FOLLOW: dict[str, dict[str, Any]] = {
    "every minute": {},
    "every quarter": {"minute": {0, 15, 30, 45}},
    "hourly": {"minute": 30, "microsecond": 0},
    "hourly, said in full": {"minute": 0, "hour": set(range(24))},
    "each minute of hours": {"hour": {0, 2, 3}, "microsecond": 999_999},
    "each minute, said in full": {"minute": set(range(60)), "hour": 1},
    "every twenty seconds": {"second": {0, 20, 40}},
    "on Sundays": {"minute": 5, "weekday": "sun"},
}
"""The minute or the hour is any: they follow the clocks in real time."""

NAMED: dict[str, dict[str, Any]] = {
    "at midnight": {"minute": 0, "hour": 0},
    "half past two": {"minute": 30, "hour": 2, "microsecond": 0},
    "some of the night": {"minute": {5, 35, 55}, "hour": {0, 1, 2, 3}},
    "hours in a row": {"minute": 0, "hour": {1, 2, 3, 4}},
    "last minute": {"minute": 59, "hour": 23},
    "ten times a minute": {"minute": 30, "hour": {0, 2}, "second": set(range(0, 60, 6))},
    "almost each minute": {"minute": set(range(59)), "hour": {1, 2}},
    "on a Sunday": {"minute": 15, "hour": {0, 2}, "weekday": {5, 6}, "month": {3, 4, 9, 10, 11}},
}
"""Each time is run once."""

JOBS = {**FOLLOW, **NAMED}


def cron_jobs() -> list[CronJob]:
    return [cron(tick, name=name, **fields) for name, fields in JOBS.items()]


# -- the oracle ------------------------------------------------------------------------------------

WEEKDAYS = ["mon", "tues", "wed", "thurs", "fri", "sat", "sun"]


@cache
def seconds_around(zone: str, at: datetime) -> list[tuple[datetime, datetime]]:
    """Every second, and what the clocks show."""
    tz = ZoneInfo(zone)
    moments = [at + n * SECOND for n in range(-4 * 3600, 4 * 3600)]
    return [(m, m.astimezone(tz).replace(tzinfo=None, fold=0)) for m in moments]


def means(fields: dict[str, Any], wall: datetime) -> bool:
    for name, wanted in {"second": 0, **fields}.items():
        if name == "microsecond":
            continue
        if isinstance(wanted, str):
            wanted = WEEKDAYS.index(wanted)
        shown = wall.weekday() if name == "weekday" else getattr(wall, name)
        if shown != wanted and not (isinstance(wanted, set) and shown in wanted):
            return False
    return True


def foresee(name: str, zone: str, at: datetime) -> list[datetime]:
    """The ticks from two hours before a change to four hours after it."""
    fields, shown = JOBS[name], seconds_around(zone, at)
    if name in FOLLOW:
        ticks = {moment for moment, wall in shown if means(fields, wall)}
    else:  # each wall time there is, when the clocks have come to it or past it
        latest = list(itertools.accumulate((wall for _, wall in shown), max))
        walls = [latest[0] + n * SECOND for n in range(int((latest[-1] - latest[0]) / SECOND))]
        ticks = {shown[bisect_left(latest, w)][0] for w in walls if means(fields, w)}
    late = timedelta(microseconds=fields.get("microsecond", 123_456))
    return [one + late for one in sorted(ticks) if one >= at - 2 * HOUR]


# -- against it ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "at"), CHANGES)
def test_a_change_of_the_clocks_leads_to_exactly_the_ticks_of_the_rule(
    zone: str, at: datetime
) -> None:
    since, until = at - 2 * HOUR - timedelta(microseconds=1), at + 3 * HOUR
    for job in cron_jobs():
        times = ArqTimes(wall_clock(zone), job)
        expected = [one for one in foresee(job.name, zone, at) if one <= until]
        assert list(times.ticks(since, until)) == expected, job.name


@pytest.mark.parametrize(("zone", "at"), CHANGES[::3])  # forward and back, by hours and by halves
async def test_a_worker_pushes_exactly_those(
    client: ArqRedis, make: Make, monkeypatch: pytest.MonkeyPatch, zone: str, at: datetime
) -> None:
    """Led by its heartbeats, with a Redis whose clock is ours."""
    clock = Clock(at - 2 * HOUR - 5 * SECOND)
    monkeypatch.setattr(client, "time", clock.time)
    worker = make(FastWorker, cron_jobs=cron_jobs(), timezone=ZoneInfo(zone))
    async with connected(client, worker):
        for _ in clock.until(at + 2.5 * HOUR, 20 * SECOND):
            await worker.heart_beat()
    found = await pushed(client)
    for name in JOBS:
        expected = [one for one in foresee(name, zone, at) if one < clock.now - 19 * SECOND]
        assert [*map(to_unix_ms, found.get(name, []))] == [*map(to_unix_ms, expected)], name


@pytest.mark.parametrize("microsecond", [0, 1, 123_456, 999_999])
def test_a_tick_is_the_first_one_later_than_a_moment(microsecond: int) -> None:
    """arq leaves out what is due within a second."""
    times = ArqTimes(wall_clock("UTC"), cron(tick, second=None, microsecond=microsecond))
    at = datetime(2026, 1, 1, microsecond=microsecond, tzinfo=UTC)
    step = timedelta(microseconds=1)
    assert [times.next_after(at - step), times.next_after(at)] == [at, at + SECOND]


# -- said once more, with names --------------------------------------------------------------------


def of_a_day(day: str, zone: str, **fields: Any) -> list[str]:
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    times = ArqTimes(wall_clock(zone), cron(tick, microsecond=0, **fields))
    return [f"{one:%H:%M}" for one in times.ticks(at, at + 12 * HOUR)]


def test_every_minute_is_every_minute_in_real_time() -> None:
    for day in ("2026-03-08", "2026-11-01"):
        assert len(of_a_day(day, "America/New_York")) == 720


def test_a_time_that_is_left_out_is_run_at_the_moment_of_the_change() -> None:
    assert of_a_day("2026-03-08", "America/New_York", hour=2, minute=30) == ["07:00"]


def test_a_time_that_is_shown_twice_is_run_the_first_time() -> None:
    assert of_a_day("2026-11-01", "America/New_York", hour=1, minute=30) == ["05:30"]


def test_an_hourly_job_neither_runs_twice_nor_pauses() -> None:
    assert of_a_day("2026-11-01", "America/New_York", minute=30)[4:8] == [
        "04:30", "05:30", "06:30", "07:30",
    ]  # fmt: skip


# -- the zone --------------------------------------------------------------------------------------


@pytest.fixture(params=["by TZ", "by file"])
def _in_new_york(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Iterator[None]:
    if request.param == "by TZ":
        monkeypatch.setenv("TZ", "America/New_York")
        yield
        return
    from importlib.resources import files

    path = tmp_path / "localtime"
    path.write_bytes(files("tzdata.zoneinfo.America").joinpath("New_York").read_bytes())
    monkeypatch.setenv("TZ", f":{path}")  # as many images have it, to save the C library work
    yield


@pytest.mark.usefixtures("_in_new_york")
async def test_without_a_zone_the_machines_own_is_followed_across_a_change(
    client: ArqRedis, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(datetime(2026, 3, 7, tzinfo=UTC))
    monkeypatch.setattr(client, "time", clock.time)
    job = cron(tick, name="daily", hour=9, minute=0, microsecond=0)
    worker = make(FastWorker, cron_jobs=[job])
    async with connected(client, worker):
        for _ in clock.until(datetime(2026, 3, 10, tzinfo=UTC), timedelta(minutes=30)):
            await worker.heart_beat()
    found = (await pushed(client))["daily"]
    assert [f"{one:%d %H}" for one in found] == ["07 14", "08 13", "09 13"]


def test_a_zone_of_the_machine_that_nobody_knows_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    with pytest.raises(SettingsError, match="no time zone 'CET-1CEST.* set timezone in"):
        make(FastWorker, cron_jobs=[cron(tick)])
    make(FastWorker, tick)  # without cron jobs it does not matter


def test_a_zone_of_pytz_is_taken_by_its_name() -> None:
    class Pytz:
        zone = "Europe/Berlin"

    clock = WallClock(zone_of(Pytz()))  # type: ignore[arg-type]
    assert clock.moment_of(datetime(2026, 7, 1, 12)).hour == 10  # noqa: DTZ001 - a wall time


# -- what never is, or cannot be read --------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"weekday": "monday"}, "cron job cron:tick: ValueError"),
        ({"minute": "*"}, r"cron job cron:tick: RuntimeError\('\*'\)"),
    ],
)
async def test_a_cron_job_that_cannot_be_read_is_named(
    client: ArqRedis, make: Make, fields: dict[str, Any], said: str
) -> None:
    worker = make(FastWorker, cron_jobs=[cron(tick, **fields)])
    async with connected(client, worker):
        with pytest.raises(SettingsError, match=said):
            await worker.heart_beat()
