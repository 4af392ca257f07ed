from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from uow import CpuContext, SyncTaskContext, TaskContext, TaskFunction, TaskRef, task
from uow.errors import (
    InvalidArguments,
    InvalidOptions,
    InvalidResult,
    SettingsError,
    UnknownTask,
)
from uow.tasks.options import Options
from uow.tasks.registry import Registry, default_registry


class Colour(StrEnum):
    RED = "red"


class Nested(BaseModel):
    at: datetime
    colour: Colour


def there_and_back(function: TaskFunction[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    written = function.signature.encode_arguments(given)
    return function.signature.decode_arguments(written.decode())


def test_typed_arguments_survive_the_way_through_json(registry: Registry) -> None:
    @task("typed", registry=registry)
    async def typed(
        ctx: TaskContext, it: Nested, data: bytes, pair: tuple[int, str], rate: float = 1.0
    ) -> None: ...

    given = {
        "it": Nested(at=datetime(2026, 1, 1, tzinfo=UTC), colour=Colour.RED),
        "data": b"\x00\xff",
        "pair": (1, "a"),
        "rate": float("inf"),
    }
    assert there_and_back(typed, given) == given


@pytest.mark.parametrize(
    "annotation", [dict[str, Any], Nested, Any, bytes, float, None, list[Nested]]
)
def test_typed_results_survive_the_way_through_json(annotation: Any, registry: Registry) -> None:
    nested = Nested(at=datetime(2026, 1, 1, tzinfo=UTC), colour=Colour.RED)
    values = {dict[str, Any]: {"a": [1]}, Nested: nested, Any: [1, "a"], bytes: b"\xff",
              float: float("inf"), None: None, list[Nested]: [nested]}  # fmt: skip

    async def function(ctx: TaskContext) -> None: ...

    function.__annotations__["return"] = annotation
    made = task("typed", registry=registry)(function)
    written = made.signature.encode_result(values[annotation])
    assert made.signature.decode_result(written) == values[annotation]


def test_defaults_are_the_functions_own_and_not_stored(registry: Registry) -> None:
    @task("defaults", registry=registry)
    async def defaults(ctx: TaskContext, a: int, b: int = 2) -> None: ...

    assert defaults.signature.encode_arguments({"a": 1}) == b'{"a":1}'


@pytest.mark.parametrize("names", [("model_config", "json"), ("self", "args"), ("schema", "copy")])
def test_parameters_may_have_any_name(names: tuple[str, str], registry: Registry) -> None:
    namespace: dict[str, Any] = {}
    exec(f"async def f(ctx, {names[0]}: int, {names[1]}: int): ...", namespace)
    function: TaskFunction[..., Any] = task("any.name", registry=registry)(namespace["f"])
    given = {names[0]: 1, names[1]: 2}
    assert there_and_back(function, given) == given


def test_the_input_is_not_repeated_in_the_message(registry: Registry) -> None:
    @task("secret", registry=registry)
    async def secret(ctx: TaskContext, pin: int) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        secret.signature.encode_arguments({"pin": "canary-4711"})
    assert "canary" not in str(caught.value)


async def test_the_plain_function_can_be_called_in_a_unit_test(registry: Registry) -> None:
    @task("plain", registry=registry)
    async def plain(ctx: TaskContext, n: int) -> int:
        return n + 1

    assert await plain({}, 1) == 2


class OwnContext(TaskContext):
    """What a startup hook adds."""

    http: object


def not_async(ctx: TaskContext) -> None: ...
async def without_ctx() -> None: ...
async def with_args(ctx: TaskContext, *n: int) -> None: ...
async def with_kwargs(ctx: TaskContext, **n: int) -> None: ...
async def positional_only(ctx: TaskContext, n: int, /) -> None: ...


@pytest.mark.parametrize(
    "function", [not_async, without_ctx, with_args, with_kwargs, positional_only]
)
def test_what_cannot_be_a_task_function_is_refused(function: Any, registry: Registry) -> None:
    with pytest.raises(InvalidOptions, match="wrong: "):
        task("wrong", registry=registry)(function)


def yields(ctx: SyncTaskContext) -> Iterator[int]:
    yield 1


async def yields_async(ctx: TaskContext) -> AsyncIterator[int]:
    yield 1


class OwnSyncContext(SyncTaskContext):
    path: str


def of_an_async_task(ctx: OwnContext) -> None: ...
async def of_a_sync_task(ctx: OwnSyncContext) -> None: ...
def with_session(ctx: OwnSyncContext) -> None: ...
def a_function(ctx: CpuContext, n: int) -> int: ...  # type: ignore[empty-body]


class Callee:
    async def __call__(self, ctx: TaskContext) -> None: ...


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (yields, {}, "has a yield, but a task function returns, and once"),
    (yields_async, {}, "has a yield, but a task function returns, and once"),
    (yields, {"process": True}, "has a yield"),
    (Callee, {}, "is neither an async def nor a def"),
    (Callee(), {}, "is neither an async def nor a def"),
    (of_an_async_task, {}, "it is a def, whose sessions .* of OwnContext: write ctx: SyncTaskC"),
    (of_a_sync_task, {}, "it is an async def, whose .* of OwnSyncContext: write ctx: TaskContext"),
    (with_session, {"process": True}, "process=True, which has no session: write ctx: CpuCont"),
    (with_args, {"process": True}, "process=True is for a def, and .* is an async def"),
    (lambda ctx: None, {"process": True}, "<lambda> is defined inside a function"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "options", "why"), WRONG)
def test_what_cannot_be_called_where_it_would_run_is_refused(
    function: Any, options: dict[str, Any], why: str, registry: Registry
) -> None:
    with pytest.raises(InvalidOptions, match=f"^wrong: .*{why}"):
        task("wrong", registry=registry, **options)(function)
    assert "wrong" not in registry


@pytest.mark.parametrize(
    ("function", "options", "place"),
    [(with_session, {}, "thread"), (a_function, {}, "thread"), (a_function, {"process": True},
     "process"), (lambda ctx: None, {}, "thread")],
)  # fmt: skip
def test_a_def_runs_in_a_thread_or_a_process(
    function: Any, options: dict[str, Any], place: str, registry: Registry
) -> None:
    assert task("fine", registry=registry, **options)(function).runs_in == place


def test_a_plain_def_can_be_called_in_a_unit_test(registry: Registry) -> None:
    @task("plain", registry=registry)
    def plain(ctx: SyncTaskContext, n: int) -> int:
        return n + 1

    assert plain({}, 1) == 2


@pytest.mark.parametrize(
    "source",
    [
        "ctx", "_", "_ctx", "worker_context", "c", "*args",
        "ctx: Any", "ctx: dict", "ctx: dict[str, Any]", "ctx: Mapping[str, Any]", "ctx: Nowhere",
        "job: NowhereContext", "job: TaskContext", "job: OwnContext", "job: TaskContext | None",
        "job: Annotated[TaskContext, 1]", "ctx, /",
    ],
)  # fmt: skip
def test_what_can_be_a_context_is_a_first_parameter(source: str, registry: Registry) -> None:
    task("fine", registry=registry)(defined(f"async def f({source}): ..."))


@pytest.mark.parametrize(
    "parameters",
    [
        "a: int, b: int", "a, b", "text: str", "it: Nested", "n: int | None", "ns: list[int]",
        "payload: dict[str, Any]", "anything: Any", "it: Nowhere", "at: datetime = None",
    ],
)  # fmt: skip
def test_a_function_without_ctx_is_refused_with_what_to_write(
    parameters: str, registry: Registry
) -> None:
    with pytest.raises(InvalidOptions) as refused:
        task("orders.add", registry=registry)(defined(f"async def add({parameters}): ..."))
    first, _, _ = parameters.partition(",")
    message = str(refused.value).replace("'", "").replace("datetime.", "")
    assert message.startswith(f"orders.add: the first parameter gets the context, which {first}")
    assert f"write async def add(ctx: TaskContext, {parameters})" in message


@pytest.mark.parametrize("parameters", ["self, n: int", "ctx: int, n: int", "*, n: int"])
def test_what_stands_in_the_place_of_ctx_is_not_kept_beside_it(
    parameters: str, registry: Registry
) -> None:
    with pytest.raises(InvalidOptions, match=r"async def add\(ctx: TaskContext, n: 'int'\)$"):
        task("orders.add", registry=registry)(defined(f"async def add({parameters}): ..."))


def defined(source: str) -> Any:
    """The function that `source` defines, its annotations unresolved as under PEP 563."""
    known = {each.__name__: each for each in (TaskContext, OwnContext, Nested, Mapping, datetime)}
    namespace: dict[str, Any] = {**known, "Any": Any, "Annotated": Annotated}
    exec(f"from __future__ import annotations\n{source}", namespace)
    return namespace.get("add") or namespace["f"]


@pytest.mark.parametrize("values", [{"max_tries": 0}, {"timeout": 0}, {"priority": 10}])
def test_bad_values_are_refused_where_the_task_is_defined(values: dict[str, int]) -> None:
    with pytest.raises(InvalidOptions, match="wrong: "):
        task("wrong", **values)  # type: ignore[arg-type]


def test_a_program_that_is_imported_by_its_worker_is_told_why_its_names_are_taken(
    registry: Registry,
) -> None:
    async def once(ctx: TaskContext) -> None: ...

    async def again(ctx: TaskContext) -> None: ...

    once.__module__ = "__main__"
    task("billing.charge", registry=registry)(once)
    with pytest.raises(InvalidOptions, match="the program that runs, and imported, too"):
        task("billing.charge", registry=registry)(again)


def test_a_name_that_is_taken_is_refused_naming_both(registry: Registry) -> None:
    @task("taken", registry=registry)
    async def first(ctx: TaskContext) -> None: ...

    with pytest.raises(InvalidOptions, match="taken: .*first and .*second"):

        @task("taken", registry=registry)
        async def second(ctx: TaskContext) -> None: ...


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"delay": -1}, "delay=-1"),
        ({"delay": 1, "run_at": datetime.now(UTC)}, "not both"),
        ({"run_at": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"priority": 10}, "priority=10"),
        ({"delay": 1e300}, "to ten years"),
        ({"delay": "soon"}, "neither seconds nor a timedelta"),
        ({"run_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}, "out of range"),
        ({"unique_key": ""}, "unique_key is not a text"),
        ({"unique_key": "x" * 513}, "unique_key is not a text"),
        ({"queue": "\ud800"}, "no name for a queue"),
        ({"queue": "arq:result:1"}, "no name for a queue"),
        ({"user_id": "a\x00"}, "without NUL"),
        ({"dealy": 1}, "did you mean delay"),
    ],
)
def test_options_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOptions, match=message):
        Options.checked("name", values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a\x00", "\ud800", "x" * 513])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidOptions, match="is not a name for a task"):
        task(name)
    with pytest.raises(InvalidOptions, match="is not a name for a task"):
        TaskRef(name)


def test_what_nobody_could_read_back_is_refused(registry: Registry) -> None:
    @task("deep", registry=registry)
    async def deep(ctx: TaskContext, it: Any) -> Any: ...

    nested: Any = []
    for _ in range(220):
        nested = [nested]
    with pytest.raises(InvalidArguments, match="cannot be read back"):
        deep.signature.encode_arguments({"it": nested})
    with pytest.raises(InvalidResult, match="cannot be read back"):
        deep.signature.encode_result(nested)
    wide: list[Any] = [[[]]] * 1000
    assert there_and_back(deep, {"it": wide}) == {"it": wide}


def test_the_functions_own_queue_and_priority_hold_unless_the_caller_says_otherwise(
    registry: Registry,
) -> None:
    @task("own", queue="slow", priority=3, registry=registry)
    async def own(ctx: TaskContext) -> None: ...

    chosen = own.options(delay=1).chosen
    assert (chosen.queue, chosen.priority) == ("slow", 3)
    chosen = own.options(queue="fast", priority=0).chosen
    assert (chosen.queue, chosen.priority) == ("fast", 0)


def test_an_unknown_name_is_an_error_where_the_task_modules_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(default_registry, "loaded", False)
    TaskRef("users.crate").request_many([{}])
    monkeypatch.setattr(default_registry, "loaded", True)
    monkeypatch.setitem(default_registry._functions, "users.create", None)
    with pytest.raises(UnknownTask, match="did you mean users.create"):
        TaskRef("users.crate").request_many([{}])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "cannot import broken: there is no broken; the current directory is on the path"),
        ("import nowhere", "cannot import broken: ModuleNotFoundError: No module named 'nowhere'"),
        ("\nopen('nowhere')", r"cannot import broken: FileNotFoundError: .* \(.*broken.py:2\)"),
        ("1 / 0", "cannot import broken: ZeroDivisionError: division by zero"),
        ("def", "cannot import broken: SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told(
    source: str | None,
    message: str,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if source is not None:
        (tmp_path / "broken.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=f"WORKER_TASK_MODULES: {message}"):
        registry.load(["broken"])


def test_type_hints_that_cannot_be_resolved_are_told_when_the_modules_are_loaded(
    registry: Registry,
) -> None:
    @task("unresolved", registry=registry)
    async def unresolved(ctx: TaskContext, n: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        InvalidOptions, match="unresolved: a type hint .*Nowhere.*under `if TYPE_CHECKING:` alone"
    ):
        registry.load([])


def test_the_hint_of_ctx_may_be_there_for_type_checkers_alone(registry: Registry) -> None:
    @task("checked", registry=registry)
    async def checked(ctx: "OnlyForCheckers", n: "int", *, at: "datetime") -> "Colour":  # type: ignore[name-defined]  # noqa: F821
        return Colour.RED

    registry.load([])
    given = {"n": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}
    assert there_and_back(checked, given) == given
    with pytest.raises(InvalidArguments, match="checked: n: "):
        checked.signature.encode_arguments({**given, "n": "x"})
    assert checked.signature.decode_result(b'"red"') is Colour.RED


def test_a_result_that_does_not_fit_the_code_any_more_is_told_as_that(registry: Registry) -> None:
    @task("changed", registry=registry)
    async def changed(ctx: TaskContext) -> int:
        return 1

    with pytest.raises(InvalidResult, match="changed: the result: Input should be a valid integer"):
        changed.signature.decode_result(b'"one"')


def test_a_task_without_a_name_is_told_what_to_write() -> None:
    async def confirm(ctx: TaskContext) -> None: ...

    with pytest.raises(InvalidOptions, match=r'write @task\("confirm"\)') as caught:
        task(confirm)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
