"""Each query of the dashboard and of the alert rules finds what it asks for at a live worker."""

import asyncio
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser as promql
import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.samples import Sample

from tests.acceptance.conftest import wait_until
from tests.processes import ROOT, environment_of, run_logged
from uow import Settings, TaskClient, TaskRef
from uow.metrics.families import STATES

FOLDER = ROOT / "docs" / "monitoring"

GIVEN_BY_PROMETHEUS = {"instance", "job", "le", "process"}
"""Labels that a sample gets when it is scraped, or has only under a supervisor, or in a bucket."""

MODULE = """
from uow import TaskContext, cron, task

@cron("0 3 * * *")
@task("reports.make")
async def make(ctx: TaskContext) -> None: ...
"""


def queries() -> Iterator[Any]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for number, target in enumerate(panel["targets"]):
            yield pytest.param(target["expr"], id=f"{panel['title']} {number}")
    for variable in dashboard["templating"]["list"]:
        if found := re.fullmatch(r"label_values\((\w+), (\w+)\)", str(variable["query"])):
            yield pytest.param(f"count by ({found[2]}) ({found[1]})", id=f"variable {found[2]}")
    rules = (FOLDER / "alerts.yml").read_text()
    named = re.findall(r"- alert: (\w+)\n +expr: '((?:[^']|'')+)'\n", rules)
    assert len(named) == rules.count("- alert:")
    for name, expression in named:
        yield pytest.param(expression.replace("''", "'"), id=name)


def parsed(expression: str) -> Any:
    """The query, with what Grafana puts in place of its variables; Prometheus's own grammar."""
    filled = expression.replace("$__rate_interval", "5m")
    return promql.parse(filled.replace("$queue", ".*").replace("$task", ".*"))


def parts(node: Any) -> Iterator[Any]:
    yield node
    children = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "param")]
    for child in [*children, *getattr(node, "args", [])]:
        if child is not None:
            yield from parts(child)


def selectors(node: Any) -> Iterator[Any]:
    for one in parts(node):
        if isinstance(one, promql.VectorSelector):
            yield one
        if isinstance(one, promql.MatrixSelector):
            yield one.vector_selector


def selected(selector: Any, samples: list[Sample]) -> list[Sample]:
    found = [one for one in samples if one.name == selector.name]
    for matcher in selector.matchers.matchers:
        values = matcher.value.split("|") if matcher.op == promql.MatchOp.Re else [matcher.value]
        if values == [".*"]:
            continue
        # Each alternative of an expression is there, or one of them is a slip of the pen.
        there = {one.labels.get(matcher.name) for one in found}
        assert set(values) <= there, f"{matcher.name} is one of {there}"
        found = [one for one in found if one.labels.get(matcher.name) in values]
    return found


@pytest.fixture(scope="module")
def scraped() -> dict[str, list[Sample]]:
    return {}


@pytest.fixture
async def samples(
    scraped: dict[str, list[Sample]], settings: Settings, client: TaskClient, tmp_path: Path
) -> list[Sample]:
    """What a worker shows that has done some work."""
    if "samples" not in scraped:
        scraped["samples"] = await _scrape(settings, client, tmp_path)
    return scraped["samples"]


async def _scrape(settings: Settings, client: TaskClient, folder: Path) -> list[Sample]:
    (folder / "documented_reports.py").write_text(MODULE)
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
    await client.enqueue(TaskRef("reports.make").options(queue="elsewhere"))
    handle = await client.enqueue("reports.make")
    command = [sys.executable, "-m", "uow", "run"]
    environment = environment_of(
        settings, WORKER_TASK_MODULES="documented_reports", WORKER_METRICS_PORT=str(port)
    )
    worker = run_logged(command, environment, cwd=folder)
    try:
        await asyncio.to_thread(worker.wait_for_log, "uow.host: ready")
        await handle.result(timeout=20)
        found: list[Sample] = []

        async def is_complete() -> bool:
            found[:] = await _samples(port)
            return {"worker_tasks_total", "worker_oldest_waiting_timestamp_seconds"} <= {
                one.name for one in found
            }

        await wait_until(is_complete)
        return found
    finally:
        worker.kill9()


async def _samples(port: int) -> list[Sample]:
    read: Any = parser.text_string_to_metric_families
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics?openmetrics")
    return [one for family in read(answer.text) for one in family.samples]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("expression", [*queries()])
async def test_a_query_finds_what_it_asks_for(expression: str, samples: list[Sample]) -> None:
    query = parsed(expression)
    asked = [*selectors(query)]
    assert asked
    labels = set(GIVEN_BY_PROMETHEUS)
    for selector in asked:
        found = selected(selector, samples)
        assert found, f"nothing is called {selector}"
        labels |= {label for one in found for label in one.labels}
    for one in parts(query):
        if isinstance(one, promql.AggregateExpr) and one.modifier is not None:
            assert set(one.modifier.labels) <= labels


async def test_what_a_worker_shows_is_in_the_table_of_the_page(samples: list[Sample]) -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text()
    rows = re.findall(r"^\| `(worker_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    shown: dict[str, set[str]] = {}
    for one in samples:
        name = re.sub(r"_(bucket|count|sum)$", "", one.name)
        shown.setdefault(name, set()).update(one.labels.keys() - {"le"})
    assert shown == {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


async def test_each_state_of_a_served_queue_is_there_also_when_it_is_empty(
    samples: list[Sample],
) -> None:
    tasks = [one for one in samples if one.name == "worker_tasks"]
    assert {one.labels["state"] for one in tasks if one.labels["queue"] == "arq:queue"} == {*STATES}
