"""What is private is shown to nobody, at any depth."""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NewType, TypedDict

import pytest
from pydantic import BaseModel, Field, SecretStr, field_serializer

from uow import Private, TaskContext, task
from uow.errors import InvalidFilter
from uow.questions.filters import TaskFilter
from uow.questions.redaction import REDACTED, Redaction
from uow.settings.environment import Settings
from uow.settings.of_looking import REDACTED_KEYS
from uow.tasks.registry import Registry

Iban = NewType("Iban", str)


class Card(BaseModel):
    number: Annotated[str, Private]
    holder: str
    pin: SecretStr = Field(alias="PIN")
    spare: "Card | None" = None

    @field_serializer("pin")
    def _in_clear(self, pin: SecretStr) -> str:
        return pin.get_secret_value()


@dataclass
class Account:
    iban: Annotated[Iban, Private()]
    bank: str


class Names(TypedDict):
    first: str
    maiden: Annotated[str, Private]


class Pair(NamedTuple):
    left: Annotated[int, Private]
    right: int


@pytest.fixture
def redaction(registry: Registry) -> Redaction:
    @task("pay", registry=registry)
    async def pay(
        ctx: TaskContext,
        order: int,
        note: Annotated[str, Private],
        card: Card | None = None,
        accounts: list[Account] | None = None,
        names: dict[str, Names] | None = None,
        pair: Pair | None = None,
    ) -> Annotated[str, Private]:
        return ""

    @task("plain", registry=registry)
    async def plain(ctx: TaskContext, order: int) -> dict[str, Any]:
        return {}

    return Redaction(REDACTED_KEYS, registry)


def test_what_a_type_says_to_be_private_is_not_shown(redaction: Redaction) -> None:
    card = {"number": "4711", "holder": "Ada", "pin": "1", "PIN": "1", "spare": None}
    given: dict[str, Any] = {
        "order": 7, "note": {"a": ["b"]}, "card": {**card, "spare": card},
        "accounts": [{"iban": "DE1", "bank": "B"}, "odd"],
        "names": {"x": {"first": "A", "maiden": "B"}}, "pair": [1, 2],
    }  # fmt: skip
    hidden = {"number": REDACTED, "holder": "Ada", "pin": REDACTED, "PIN": REDACTED, "spare": None}
    assert redaction.arguments("pay", given) == {
        "order": 7, "note": REDACTED, "card": {**hidden, "spare": hidden},
        "accounts": [{"iban": REDACTED, "bank": "B"}, "odd"],
        "names": {"x": {"first": "A", "maiden": REDACTED}}, "pair": [REDACTED, REDACTED],
    }  # fmt: skip
    assert redaction.result("pay", "x") == REDACTED
    assert redaction.result("plain", {"a": [1]}) == {"a": [1]}
    assert given["card"]["number"] == "4711"


def test_what_a_key_says_is_not_shown_at_any_depth(redaction: Redaction) -> None:
    given = {"a": [{"Api-Key": "x", "b": {"accessToken": 1, "db_password": ["y"]}}], "order": 1}
    shown = {
        "a": [{"Api-Key": REDACTED, "b": {"accessToken": REDACTED, "db_password": REDACTED}}],
        "order": 1,
    }
    assert redaction.arguments("unknown", given) == shown
    assert redaction.values(given) == shown
    assert redaction.values("token") == "token"


def test_which_keys_those_are_is_a_setting(registry: Registry) -> None:
    redaction = Redaction(Settings(redact="iban, *_code").redact, registry)
    given = {"iban": 1, "my_iban": 2, "zip-code": 3, "code": 4, "password": 5}
    assert redaction.values(given) == {**given, "iban": REDACTED, "zip-code": REDACTED}
    assert Settings(redact="").redact == REDACTED_KEYS


@pytest.mark.parametrize("words", [
    [("arg:password", "x")], [("arg:card.apiKey", "x")], [("arg:a.secret.b", "x")],
    [("arg:note", "x"), ("name", "pay")], [("arg:card.number", "x"), ("name", "pay")],
    [("arg:card.number.x", "x"), ("name", "pay")],
])  # fmt: skip
def test_nothing_can_be_found_by_what_is_not_shown(
    redaction: Redaction, words: list[tuple[str, str]]
) -> None:
    with pytest.raises(InvalidFilter, match=r"^arg:[\w.]+ is redacted"):
        redaction.refuse_hidden(TaskFilter.read(words))


def test_what_is_shown_may_be_looked_for(redaction: Redaction) -> None:
    words = [("arg:order", "7"), ("arg:card.holder", "Ada"), ("name", "pay")]
    redaction.refuse_hidden(TaskFilter.read(words))


def test_a_hint_that_means_nothing_shows_nothing(registry: Registry) -> None:
    async def odd(ctx: TaskContext, x: int) -> None: ...

    odd.__annotations__["x"] = "NotThere"
    task("odd", registry=registry)(odd)
    assert Redaction((), registry).arguments("odd", {"x": 1}) == {"x": REDACTED}
