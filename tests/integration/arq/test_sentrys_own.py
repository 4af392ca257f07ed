"""Sentry's arq integration gets the same from `worker run module.WorkerSettings` as from arq."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from tests.integration.arq.conftest import JSON
from tests.processes import ROOT
from uow.broker.redis import RedisClient
from uow.embedded import EmbeddedRedis

APP = "tests.integration.arq.reporting_app.WorkerSettings"

COMMANDS = {
    "arq": [sys.executable, "-m", "arq", APP],
    "ours": [sys.executable, "-m", "uow", "run", APP],
}


@pytest.fixture
def wire() -> dict[str, Any]:
    return JSON


def run(command: list[str], redis_server: EmbeddedRedis, reports: Path) -> list[dict[str, Any]]:
    environment = {
        **os.environ, "REDIS": redis_server.url, "REPORTS": str(reports), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [*command, "--burst"], env=environment, cwd=ROOT, capture_output=True, text=True,
        timeout=40, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in reports.read_text().splitlines()]


def shape(reported: dict[str, Any]) -> tuple[Any, ...]:
    """What of a report does not depend on the moment."""
    kind = reported.get("type", "event")
    if kind == "transaction":
        trace = reported["contexts"]["trace"]
        spans = [span["description"] for span in reported["spans"] if span["op"] == "work"]
        return (kind, reported["transaction"], trace["op"], trace["status"], trace["origin"],
                trace["data"].get("messaging.destination.name"), *spans)  # fmt: skip
    if kind == "check_in":
        return kind, reported["monitor_slug"], reported["status"], str(reported["monitor_config"])
    (value,) = reported["exception"]["values"]
    tags = {name: reported["tags"][name] for name in ("arq_task_id", "arq_task_retry", "seen")}
    return (kind, reported["transaction"], value["type"], str(value["mechanism"]), str(tags),
            str(reported["extra"]["arq-job"]))  # fmt: skip


@pytest.mark.timeout(120)  # two processes that import everything anew
async def test_sentry_gets_the_same_from_both(
    client: ArqRedis, redis: RedisClient, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    got: dict[str, list[tuple[Any, ...]]] = {}
    for engine, command in COMMANDS.items():
        await redis.flushall()
        for name, *arguments in (("succeeds", "31415"), ("fails", "31415"), ("repeats",)):
            await client.enqueue_job(name, *arguments, _job_id=f"the job {name}")
        reports = run(command, redis_server, tmp_path / engine)
        got[engine] = sorted(shape(one) for one in reports)
    assert got["ours"] == got["arq"]
    kinds = [kind for kind, *_ in got["ours"]]
    assert kinds == ["check_in"] * 2 + ["event"] + ["transaction"] * 5
