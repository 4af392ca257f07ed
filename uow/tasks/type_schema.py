"""What pydantic's schema of a type says about its way into JSON and back.

Only the side that reads JSON is looked at. What is said here of the shapes is said by pydantic's
names; a name that it changes some day makes us look at more values, never at fewer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from uow.tasks.difference import Fault, Place

Node = Mapping[str, Any]
"""A schema of pydantic-core, or a field in one."""

CONFIDENTIAL = (
    "is a secret, which is written as asterisks, and a row is no place for it: pass the name under "
    "which the task function finds it, or a str if the row may have it"
)

WRITTEN_ONLY = (
    "the field is init=False, so it is written and never read: annotate it with "
    "Annotated[…, pydantic.Field(exclude=True)]"
)

KEYS_ARE_TEXT = "in JSON they are text: use a list of pairs"

_INNER = ("schema", "items_schema", "keys_schema", "values_schema", "extras_schema", "choices",
          "fields", "steps", "json_schema", "lax_schema")  # fmt: skip

_NUMBER = frozenset({"ge", "gt", "le", "lt", "multiple_of"})
_LENGTH = frozenset({"min_length", "max_length"})
_PLAIN: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "bool": frozenset(),
    "int": _NUMBER,
    "float": _NUMBER | {"allow_inf_nan"},
    "str": _LENGTH | {"pattern"},
    "uuid": frozenset({"version"}),
    "nullable": frozenset({"schema"}),
    "list": _LENGTH | {"items_schema"},
    "tuple": _LENGTH | {"items_schema", "variadic_item_index"},
    "dict": _LENGTH | {"keys_schema", "values_schema"},
    "typed-dict": frozenset(
        {"cls", "config", "computed_fields", "extra_behavior", "fields", "ref"}
    ),
    "typed-dict-field": frozenset({"schema", "required"}),
}
"""Types of which every value comes back, and what may be said of them without changing that."""

_PLAIN_CONFIG = {"title", "extra_fields_behavior", "hide_input_in_errors", "ser_json_inf_nan",
                 "ser_json_bytes", "val_json_bytes"}  # fmt: skip

_NO_KEYS = ("tuple", "list", "named-tuple", "frozenset", "set", "model", "dataclass", "dict")
"""What JSON writes as the key of an object in a way that nobody can read."""

_OF_ITS_OWN = ("function-plain", "function-wrap", "function-before")
"""Somebody's own way of writing or reading: what it makes of a value only the value shows."""


def is_plain(node: Node) -> bool:
    """Whether every value of the type surely comes back as it was; if in doubt, not."""
    kind = node["type"]
    if kind not in _PLAIN or node.keys() - _PLAIN[kind] - {"type", "metadata"}:
        return False
    return _holds_plain_things(node) and all(is_plain(inner) for _, inner in _inner(node))


def _holds_plain_things(node: Node) -> bool:
    match node["type"]:
        case "list":
            return "items_schema" in node  # a bare list holds anything
        case "dict":
            return "values_schema" in node and node.get("keys_schema", node)["type"] == "str"
        case "typed-dict":
            config = node.get("config", {}).keys()
            return (
                not node.get("computed_fields")
                and node.get("extra_behavior") != "allow"
                and config <= _PLAIN_CONFIG
            )
    return True


def faults(node: Node) -> Iterator[Fault]:
    """Why values of the type can never come back, each reason once."""
    yield from _Search().faults(node, ())


@dataclass
class _Search:
    """A walk through a schema.

    Attributes:
        definitions: The parts that it refers to by name.
        seen: Those of them that were looked at.
    """

    definitions: dict[str, Node] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def faults(self, node: Node, place: Place, *, converted: bool = False) -> Iterator[Fault]:
        """Those of `node`; `converted`: a validator of somebody's own has read it before."""
        if node["type"] == "definitions":
            self.definitions |= {each["ref"]: each for each in node["definitions"]}
        if _is_masked(node):
            yield Fault(place, CONFIDENTIAL)
        if node.get("serialization", {}).get("type") in _OF_ITS_OWN:
            return  # how it is written is the type's own affair
        converted = converted or node["type"] in _OF_ITS_OWN
        if not converted and (reason := self._reason(node)):
            yield Fault(place, reason)
        for step, inner in (*_inner(node), *self._meant_by(node)):
            yield from self.faults(inner, (*place, *step), converted=converted)

    def _meant_by(self, node: Node) -> Iterator[tuple[Place, Node]]:
        reference = node.get("schema_ref")
        if reference in self.definitions and reference not in self.seen:
            self.seen.add(reference)
            yield (), self.definitions[reference]

    def _reason(self, node: Node) -> str | None:
        match node["type"]:
            case "generator":
                return "is an iterator, which is read once and never again: use list"
            case "dataclass-field" if node.get("init") is False:
                return None if node.get("serialization_exclude") else WRITTEN_ONLY
            case "dict" if "keys_schema" in node:
                keys: Node = node["keys_schema"]
                keys = self.definitions.get(keys.get("schema_ref", ""), keys)
                if keys["type"] in _NO_KEYS and "serialization" not in keys:
                    return f"its keys are of the type {keys['type']}, but {KEYS_ARE_TEXT}"
        return None


def _is_masked(node: Node) -> bool:
    """Whether it is `SecretStr`, `SecretBytes` or `Secret`, written as pydantic writes them."""
    function = node.get("serialization", {}).get("function")
    named = getattr(function, "__name__", "")
    module = getattr(function, "__module__", "")
    return module == "pydantic.types" and named.startswith("_serialize_secret")


def _inner(node: Node) -> Iterator[tuple[Place, Node]]:
    """The schemas in `node`, each with the name that leads to it if it is that of a field."""
    for key in _INNER:
        yield from _schemas_in(node.get(key), named=key == "fields")


def _schemas_in(value: Any, *, named: bool) -> Iterator[tuple[Place, Node]]:
    match value:
        case {"type": str()}:
            yield (value["name"],) if named else (), value
        case dict():  # fields by name, or choices by tag
            for name, inner in value.items():
                yield (name,) if named else (), inner
        case list() | tuple():  # several; a choice may have a label beside it
            for inner in value:
                yield from _schemas_in(inner, named=named)
