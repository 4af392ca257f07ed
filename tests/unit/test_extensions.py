"""What is refused when it is written down: lifespans, middleware, listeners, hooks, headers."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from uow import CallNext, InvalidOptions, ProcessContext, TaskRef, lifespan, middleware, on
from uow import on_enqueue as hook
from uow.events import AttemptEnded, AttemptStarted, Event
from uow.tasks.registry import Registry


async def no_generator(ctx: ProcessContext) -> dict[str, str]:
    return {}


def sync_generator(ctx: ProcessContext) -> Any:
    yield {}


async def takes_nothing() -> AsyncIterator[None]:
    yield


async def needs_one_more(ctx: Any, call_next: CallNext, more: int) -> object:
    return await call_next()


def is_sync(ctx: Any, call_next: Any) -> object:
    return call_next()


async def is_async(event: Event) -> None: ...


def takes_two(event: Event, more: int) -> None: ...


Decorate = Callable[[Any], object]


@pytest.mark.parametrize(
    ("decorate", "function", "said"),
    [
        (
            lifespan,
            no_generator,
            r"@lifespan: no_generator \(.*:\d+\) is no async def with a yield",
        ),
        (lifespan, sync_generator, "@lifespan: sync_generator .* is no async def with a yield"),
        (lifespan, {}, "@lifespan: {} is no async def with a yield"),
        (lifespan, takes_nothing, r"@lifespan: takes_nothing .* is called with \(ctx\)"),
        (middleware, is_sync, "@middleware: is_sync .* is no coroutine function"),
        (middleware, needs_one_more, r"is called with \(ctx, call_next\), .*'more'"),
        (on(AttemptEnded), is_async, "@on: is_async .* is called and not awaited"),
        (on(AttemptEnded), takes_two, r"@on: takes_two .* is called with \(event\)"),
        (hook, no_generator, "@on_enqueue: no_generator .* is no plain def"),
    ],
)
def test_a_function_of_the_wrong_kind_is_refused_with_its_place(
    decorate: Decorate, function: Any, said: str
) -> None:
    with pytest.raises(InvalidOptions, match=said):
        decorate(function)


@pytest.mark.parametrize("kinds", [(), (int,), ("AttemptEnded",), (Event,), (AttemptEnded, 3)])
def test_what_is_no_event_cannot_be_listened_to(kinds: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidOptions, match="is no event: name kinds of uow.events"):
        on(*kinds)


def test_a_decorated_function_stays_what_it_is() -> None:
    registry = Registry()

    async def around(ctx: Any, call_next: CallNext) -> object:
        return await call_next()

    def listen(event: AttemptEnded) -> None: ...

    assert middleware(registry=registry)(around) is around
    assert on(AttemptEnded, registry=registry)(listen) is listen
    assert registry.middleware == [around]
    assert registry.events.wants(AttemptEnded)
    assert not registry.events.wants(AttemptStarted)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"n": 1}, r"headers= has headers with \('n', 1\), of which one is no text"),
        ({1: "n"}, "of which one is no text"),
        ({"": "n"}, "of which one is no text"),
        ({"n": "\x00"}, "none that Postgres can store"),
        ({"n": "\ud800"}, "none that Postgres can store"),
        ({"n" * 513: "x"}, "none that Postgres can store"),
        ("tenant=a", "headers= has 'tenant=a', which is no dict of text by text"),
        ({"n": "x" * 4096}, r"headers of 4,10\d bytes of JSON, but at most 4,096 travel"),
    ],
)
def test_headers_are_a_small_dict_of_text(headers: Any, said: str) -> None:
    with pytest.raises(InvalidOptions, match=said):
        TaskRef("orders.confirm").options(headers=headers)


def test_headers_that_were_given_do_not_change_later() -> None:
    headers = {"tenant": "acme"}
    chosen = TaskRef("orders.confirm").options(headers=headers).chosen
    headers["tenant"] = "another"
    assert chosen.headers == {"tenant": "acme"}
