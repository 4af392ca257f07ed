"""What a task function gets equals what was given, types included, or it is refused."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
)
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from uow import TaskContext, TaskFunction, TaskRef, task
from uow.errors import InvalidArguments, InvalidOptions, InvalidResult, InvalidSchedule
from uow.schedules.cron import cron
from uow.tasks.difference import difference
from uow.tasks.registry import Registry, default_registry

T = TypeVar("T")


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class Corner(Enum):
    LEFT = (0, 0)


class Aliased(BaseModel):
    order_id: int = Field(alias="orderId")
    deep: int = Field(0, validation_alias=AliasPath("a", "b"))
    either: int = Field(0, validation_alias=AliasChoices("one", "other"))


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)
    first_name: str
    nick_name: str | None = None


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width**2


class Excluded(BaseModel):
    note: str = Field("nothing", exclude=True)


class Animal(BaseModel):
    name: str


class Dog(Animal):
    tricks: int = 0


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Fish(BaseModel):
    kind: Literal["fish"] = "fish"
    depth: float


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int


class Tree(BaseModel):
    at: datetime
    children: "list[Tree]" = []


class Box(BaseModel, Generic[T]):
    it: T


class Private(BaseModel):
    n: int
    _seen: int = PrivateAttr(default=0)


class Raw(BaseModel):
    blob: Json[list[int]]


Names = RootModel[list[str]]


class Point(NamedTuple):
    x: int
    y: float


class Row(TypedDict):
    n: int
    at: date


@dataclass
class Made:
    x: int
    y: int = dataclasses.field(init=False, default=7)


@dataclass
class Fixed:
    x: int
    y: Annotated[int, Field(exclude=True)] = dataclasses.field(init=False, default=7)


@dataclass(frozen=True)
class Price:
    amount: Decimal
    rate: float = 1.0


class Login(BaseModel):
    user: str
    password: SecretStr


class Bare:
    """A class of somebody's, without an equality."""

    def __init__(self, n: int) -> None:
        self.n = n


BareHint = Annotated[
    Bare,
    PlainValidator(lambda value: value if isinstance(value, Bare) else Bare(value)),
    PlainSerializer(lambda value: value.n),
]


def taking(registry: Registry, hint: Any) -> TaskFunction[..., Any]:
    async def function(ctx: TaskContext, it: Any) -> None: ...

    function.__annotations__["it"] = hint
    return task("taking", registry=registry)(function)


def giving(registry: Registry, hint: Any) -> TaskFunction[..., Any]:
    async def function(ctx: TaskContext) -> None: ...

    function.__annotations__["return"] = hint
    return task("giving", registry=registry)(function)


def sent(function: TaskFunction[..., Any], it: Any) -> Any:
    written = function.signature.encode_arguments({"it": it})
    return function.signature.decode_arguments(written.decode())["it"]


def handed_back(function: TaskFunction[..., Any], it: Any) -> Any:
    return function.signature.decode_result(function.signature.encode_result(it))


COMES_BACK: list[tuple[Any, Any]] = [
    (Aliased, Aliased.model_validate({"orderId": 1, "a": {"b": 2}, "other": 3})),
    (list[Camel], [Camel.model_validate({"firstName": "Ann", "nickName": "A"})]),
    (Computed, Computed(width=3)),
    (Excluded, Excluded()),
    (Animal | Dog, Dog(name="Rex", tricks=3)),
    (Annotated[Cat | Fish, Field(discriminator="kind")], Fish(depth=2.0)),
    (Open, Open.model_validate({"n": 1, "more": [1]})),
    (Tree, Tree(at=datetime.now(UTC), children=[Tree(at=datetime.now(UTC))])),
    (Box[list[Price]], Box[list[Price]](it=[Price(Decimal("1.50"))])),
    (Raw, Raw.model_validate({"blob": "[1, 2]"})),
    (Names, Names(["a"])),
    (Private, Private(n=1)),
    (Fixed, Fixed(1)),
    (Price, Price(Decimal("1.0"), rate=math.nan)),
    (BareHint, Bare(3)),
    (datetime | date | str, date(2030, 1, 2)),
    (datetime | date | str, datetime(2030, 1, 2, 3)),  # noqa: DTZ001
    (int | float | str | None, 1.0),
    (int | str, "5"),
    (set[int], {1, 2}),
    (frozenset[Colour], frozenset({Colour.RED})),
    (dict[Colour, Size], {Colour.RED: Size.SMALL}),
    (dict[UUID, timedelta], {UUID(int=1): timedelta(days=-1, microseconds=1)}),
    (pathlib.Path, pathlib.Path("a/b")),
    (IPv4Address, IPv4Address("10.0.0.1")),
    (Point, Point(1, -0.0)),
    (Row, {"n": 1, "at": date(2030, 1, 2)}),
    (int, 2**200),
    (Any, {"a": [1, 1.5, None, True, "x"]}),
]


@pytest.mark.parametrize(("hint", "value"), COMES_BACK)
def test_what_comes_back_is_what_was_given(hint: Any, value: Any, registry: Registry) -> None:
    assert difference(value, sent(taking(registry, hint), value)) is None
    assert difference(value, handed_back(giving(registry, hint), value)) is None


CHANGED: list[tuple[Any, Any, str]] = [
    (Animal, Dog(name="Rex", tricks=3), "it: a Dog would arrive as an Animal"),
    (list[Animal], [Dog(name="Rex")], r"it\.0: a Dog would arrive as an Animal"),
    (Excluded, Excluded(note="important"), r"it\.note: another str would arrive"),
    (datetime | date | str, "2030-01-02", "it: a str would arrive as a date"),
    (UUID | str, str(UUID(int=1)), "it: a str would arrive as an UUID"),
    (Any, {"at": datetime(2030, 1, 2)}, r"it\.at: a datetime would arrive as a str"),  # noqa: DTZ001
    (Any, {1: "a"}, "it: a dict with other keys would arrive"),
    (Any, (1, 2), "it: a tuple would arrive as a list"),
    (Any, b"x", "it: a bytes would arrive as a str"),
    (Any, math.inf, "it: a float would arrive as a str"),
    (Any, Colour.RED, "it: a Colour would arrive as a str"),
    (dict[str, Any], {"n": Decimal(1)}, r"it\.n: a Decimal would arrive as a str"),
    (list[int] | tuple[int, ...], (1,), "it: a tuple would arrive as a list"),
    (Open, Open.model_validate({"n": 1, "at": date(2030, 1, 2)}), r"it\.at: a date would"),
    (Animal, Animal.model_construct(name=5), r"it\.name: cannot be read back from JSON"),
    (Animal, Animal.model_construct(), r"it\.name: cannot be read back from JSON"),
    (Price, Price("1"), r"it\.amount: a str would arrive as a Decimal"),  # type: ignore[arg-type]
    (datetime, datetime(1800, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), "another datetime"),
]


@pytest.mark.parametrize(("hint", "value", "message"), CHANGED)
def test_what_would_arrive_changed_is_refused_naming_the_place_and_both_types(
    hint: Any, value: Any, message: str, registry: Registry
) -> None:
    with pytest.raises(InvalidArguments, match=f"taking: .*{message}"):
        sent(taking(registry, hint), value)


def test_a_number_that_nobody_could_read_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidArguments, match="taking: .*number out of range"):
        sent(taking(registry, int), 10**5000)


def test_private_attributes_are_part_of_a_model(registry: Registry) -> None:
    private = Private(n=1)
    private._seen = 5
    with pytest.raises(InvalidArguments, match=r"it\._seen: another int"):
        sent(taking(registry, Private), private)


def test_a_result_that_would_come_back_changed_is_refused(registry: Registry) -> None:
    function = giving(registry, Animal)
    with pytest.raises(InvalidResult, match=r"the result: a Dog would .* \(-> .*Animal\)"):
        function.signature.encode_result(Dog(name="Rex"))
    function = giving(registry, dict[str, Any])
    with pytest.raises(InvalidResult, match="the result: at: a date would arrive as a str"):
        function.signature.encode_result({"at": date(2030, 1, 2)})


def test_a_function_without_a_return_annotation_promises_json_only(registry: Registry) -> None:
    function = giving(registry, Any)
    assert handed_back(function, (1, date(2030, 1, 2))) == [1, "2030-01-02"]


def _shout(value: str) -> str:
    return f"{value}!"


class Loud(BaseModel):
    name: Annotated[str, AfterValidator(_shout)]


def test_a_validator_meets_what_was_given_once(registry: Registry) -> None:
    function = taking(registry, Annotated[str, AfterValidator(_shout)])
    assert sent(function, "hey") == "hey!"
    split = taking(registry, Annotated[list[str], BeforeValidator(lambda value: value.split(","))])
    assert sent(split, "a,b") == ["a", "b"]
    loud = taking(registry, Loud)
    assert sent(loud, {"name": "hey"}) == Loud(name="hey")
    with pytest.raises(InvalidArguments, match=r"it\.name: another str would arrive"):
        sent(loud, Loud(name="hey"))  # it has met it already


NEVER: list[tuple[Any, str]] = [
    (SecretStr, "it: is a secret"),
    (SecretBytes | None, "it: is a secret"),
    (list[Secret[int]], "it: is a secret"),
    (Login, r"it\.password: is a secret"),
    (dict[str, tuple[Login, Login]], r"it\.password: is a secret"),
    (dict[tuple[int, int], str], "it: its keys are of the type tuple"),
    (dict[Price, str], "it: its keys are of the type dataclass"),
    (Made, r"it\.y: the field is init=False"),
    (Iterable[int], "it: is an iterator"),
    (list[Made | None], r"it\.y: the field is init=False"),
]


@pytest.mark.parametrize(("hint", "message"), NEVER)
def test_a_type_of_which_nothing_comes_back_is_refused_where_the_function_is_defined(
    hint: Any, message: str, registry: Registry
) -> None:
    with pytest.raises(InvalidOptions, match=f"taking: {message}"):
        taking(registry, hint)
    with pytest.raises(InvalidOptions, match=f"giving: the result: .*{message.partition(': ')[2]}"):
        giving(registry, hint)
    assert not registry.names


def test_a_type_that_is_known_later_only_is_refused_when_the_modules_are_loaded(
    registry: Registry,
) -> None:
    @task("later", registry=registry)
    async def later(ctx: TaskContext, it: "Later") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    later.function.__globals__["Later"] = SecretStr
    try:
        with pytest.raises(InvalidOptions, match="later: it: is a secret"):
            registry.load([])
    finally:
        del later.function.__globals__["Later"]


def test_a_type_that_is_not_complete_yet_does_not_stop_a_definition(registry: Registry) -> None:
    class Parent(BaseModel):
        child: "Child"

    async def function(ctx: TaskContext, it: Any) -> None: ...

    for hint in (Parent, "datetime.not_there_yet", "not python"):
        function.__annotations__["it"] = hint
        task("early", registry=registry)(function)

    class Child(BaseModel):
        n: int

    function.__annotations__["it"] = Parent
    complete = task("early", registry=registry)(function)
    Parent.model_rebuild(_types_namespace={"Child": Child})
    assert sent(complete, {"child": {"n": 1}}) == Parent(child=Child(n=1))


def test_what_its_owner_writes_or_reads_in_a_way_of_his_own_is_tried(registry: Registry) -> None:
    def read(given: Any) -> Any:
        return {
            tuple(key.split(",")) if isinstance(key, str) else key: n for key, n in given.items()
        }

    grid = taking(registry, Annotated[dict[tuple[str, str], int], BeforeValidator(read)])
    assert sent(grid, {("a", "b"): 1}) == {("a", "b"): 1}

    def read_pairs(given: Any) -> Any:
        return given if isinstance(given, dict) else {tuple(key): n for key, n in given}

    pairs = (BeforeValidator(read_pairs), PlainSerializer(lambda grid: list(grid.items())))
    grid = taking(registry, Annotated[dict[tuple[str, str], int], *pairs])
    assert sent(grid, {("a", "b"): 1}) == {("a", "b"): 1}


def test_a_secret_whose_owner_writes_it_in_the_clear_is_not_refused(registry: Registry) -> None:
    clear = Annotated[SecretStr, PlainSerializer(lambda secret: secret.get_secret_value())]
    assert sent(taking(registry, clear), SecretStr("s3cret")) == SecretStr("s3cret")


@pytest.mark.parametrize("value", [SecretStr("s3cret"), [Login(user="a", password=SecretStr("b"))]])
def test_a_secret_is_refused_by_name_too(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_registry, "loaded", False)
    with pytest.raises(InvalidArguments, match="elsewhere: it: is a secret"):
        TaskRef("elsewhere").request_many([{"it": value}])
    TaskRef("elsewhere").request_many([{"it": "**********"}])


def test_the_arguments_of_a_schedule_are_held_to_the_same(registry: Registry) -> None:
    function = cron("0 3 * * *", arguments={"it": Dog(name="Rex")})(taking(registry, Animal))
    with pytest.raises(InvalidSchedule, match="it: a Dog would arrive as an Animal"):
        function.schedules[0].definition("queue")


def test_a_parameter_may_have_an_alias(registry: Registry) -> None:
    assert sent(taking(registry, Annotated[int, Field(alias="N")]), 1) == 1


def test_what_others_have_written_with_aliases_is_read(registry: Registry) -> None:
    signature = taking(registry, Camel).signature
    read = signature.decode_arguments('{"it": {"firstName": "Ann"}}')
    assert read == {"it": Camel.model_validate({"firstName": "Ann"})}


def test_the_value_is_not_repeated_in_the_message(registry: Registry) -> None:
    with pytest.raises(InvalidArguments) as caught:
        sent(taking(registry, Excluded), Excluded(note="canary-4711"))
    assert "canary" not in str(caught.value)


# -- of any type --------------------------------------------------------------------------------

OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
ZONES = st.none() | st.timezones() | st.builds(timezone, OFFSETS)
FINITE = st.decimals(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (None, st.none()),
    (bool, st.booleans()),
    (int, st.integers()),
    (float, st.floats() | st.integers()),
    (str, TEXT | st.just(Colour.RED)),
    (bytes, st.binary()),
    (UUID, st.uuids()),
    (Decimal, FINITE),
    (datetime, st.datetimes(timezones=ZONES)),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (Colour, st.just(Colour.RED)),
    (Size, st.just(Size.SMALL)),
    (Corner, st.just(Corner.LEFT)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Annotated[int, Field(gt=3)], st.integers(4)),
    (Annotated[str, Field(max_length=3)], TEXT.filter(lambda text: len(text) < 4)),
    (pathlib.Path, st.sampled_from([pathlib.Path("a"), pathlib.Path()])),
    (IPv4Address, st.ip_addresses(v=4)),
    (Animal, st.builds(Animal, name=TEXT) | st.builds(Dog, name=TEXT)),
    (Camel, st.builds(lambda name: Camel.model_validate({"firstName": name}), TEXT)),
    (Point, st.builds(Point, st.integers(), st.floats())),
    (Price, st.builds(Price, FINITE, st.floats() | st.integers())),
    (datetime | date | str, st.dates() | st.datetimes() | TEXT | st.dates().map(str)),
    (int | float | str, st.integers() | st.floats() | TEXT),
    (Any, st.recursive(st.none() | st.integers() | st.floats() | TEXT | st.dates(), lambda inner:
        st.lists(inner) | st.dictionaries(TEXT | st.integers(), inner) | st.tuples(inner))),
]  # fmt: skip

Case = tuple[Any, Any]


def _itself(hint: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return st.tuples(st.just(hint), values)


def _listed(hint: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return st.tuples(st.just(list[hint]), st.lists(values, max_size=3))


def _in_a_tuple(hint: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return st.tuples(st.just(tuple[hint, ...]), st.lists(values, max_size=3).map(tuple))


def _by_name(hint: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return st.tuples(st.just(dict[str, hint]), st.dictionaries(TEXT, values, max_size=3))


def _optional(hint: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return st.tuples(st.just(hint | None if hint is not None else None), values | st.none())


def _boxed(hint: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return st.tuples(st.just(Box[hint]), values.map(lambda it: Box[Any].model_construct(it=it)))


SHAPES: list[Callable[[Any, st.SearchStrategy[Any]], st.SearchStrategy[Case]]] = [
    _itself, _listed, _in_a_tuple, _by_name, _optional, _boxed,
]  # fmt: skip


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_of_any_type_what_is_accepted_arrives_as_it_was(data: st.DataObject) -> None:
    hint, values = data.draw(st.sampled_from(SCALARS))
    hint, value = data.draw(data.draw(st.sampled_from(SHAPES))(hint, values))
    function = taking(Registry(), hint)
    checked = function.signature._arguments._reader.validate_python(({"it": value},))[0]["it"]
    try:
        arrived = sent(function, value)
    except InvalidArguments:
        return
    assert difference(checked, arrived) is None
