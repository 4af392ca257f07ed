"""What is in the traces of a task whose process was killed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes import WorkerProcess
from tests.tracing import Traces
from uow import TaskClient
from uow.contrib.otel import instrument, uninstrument

MODULE = "tests.conformance.traced_tasks"


@pytest.mark.timeout(60)
async def test_an_attempt_that_was_killed_is_in_the_trace_and_the_next_is_linked_with_it(
    client: TaskClient, start_worker: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    traces, spans = Traces(), tmp_path / "spans"
    instrument(tracer_provider=traces.provider)
    try:
        with traces.tracer.start_as_current_span("request") as request:
            handle = await client.enqueue("traced.dies.once")
    finally:
        uninstrument()
    environment = {"SPANS": str(spans), "WORKER_TASK_MODULES": MODULE}
    assert start_worker(**environment).wait() == -9
    start_worker(**environment)
    assert await handle.result(30) == "done"
    send = traces.one("send").get_span_context()
    told = [json.loads(line) for line in spans.read_text().splitlines()]
    begun = [one for one in told if (one["what"], one["name"]) == ("begins", "process arq:queue")]
    assert send is not None
    killed, following = begun
    assert (killed["trace"], killed["parent"]) == (send.trace_id, send.span_id)
    assert send.trace_id == request.get_span_context().trace_id
    assert (following["parent"], following["links"]) == (None, [send.span_id])
    works = {one["name"]: one for one in told if one["what"] == "ends"}
    assert works["work of 1"]["parent"] == killed["span"]
    assert works["work of 2"]["parent"] == following["span"]
    assert works["process arq:queue"]["span"] == following["span"]
    assert said(works["process arq:queue"]) == ("completed", 2)


def said(span: dict[str, Any]) -> tuple[object, object]:
    about = span["attributes"]
    return about["uow_worker.task.outcome"], about["uow_worker.task.attempt"]
