"""Which parts of a value its type says to be private: `Private`, and pydantic's secrets."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import AliasChoices, AliasPath, BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from uow.tasks.private import Private

_SECRETS = (SecretStr, SecretBytes, Secret)
_UNIONS = (Union, types.UnionType)


@dataclass(eq=False, slots=True)
class Privacy:
    """What of a JSON value is private.

    Attributes:
        whole: All of it.
        fields: What of the values by these keys.
        items: What of each element, or of each value of a dict.
        also: What else, as each member of a union says it for itself.
    """

    whole: bool = False
    fields: dict[str, "Privacy"] = field(default_factory=dict)
    items: "Privacy | None" = None
    also: list["Privacy"] = field(default_factory=list)

    def all(self) -> list["Privacy"]:
        """It and all that it says beside itself, each once."""
        found: list[Privacy] = [self]
        for one in found:
            found += [other for other in one.also if not any(other is seen for seen in found)]
        return found


WHOLE = Privacy(whole=True)


def privacy_of(hint: Any) -> Privacy:
    """What of the values of a type is private, in the shape that they have in JSON.

    Raises:
        Exception: Whatever a type hint that means nothing leads to.
    """
    return _Search().of(hint)


class _Search:
    """A walk through types; a class that holds itself is walked once."""

    def __init__(self) -> None:
        self._known: dict[object, Privacy] = {}

    def of(self, hint: Any) -> Privacy:
        origin, inner = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(inner[0], inner[1:])
        if isinstance(alias := getattr(hint, "__value__", None), object) and alias is not None:
            return self.of(alias)  # type X = …
        if supertype := getattr(hint, "__supertype__", None):
            return self.of(supertype)  # NewType
        if origin in _UNIONS:
            return Privacy(also=[self.of(one) for one in inner])
        if isinstance(origin or hint, type) and issubclass(origin or hint, _SECRETS):
            return WHOLE
        if isinstance(hint, type) and (fields := _fields_of(hint)) is not None:
            return self._class(hint, fields)
        if not inner:
            return Privacy()
        # A list, a tuple, a dict, a model with parameters, NotRequired: whatever holds these.
        parts = Privacy(also=[self.of(one) for one in inner if one is not Ellipsis])
        return Privacy(items=parts, also=[self.of(origin)] if isinstance(origin, type) else [parts])

    def _annotated(self, hint: Any, said: tuple[Any, ...]) -> Privacy:
        private = any(one is Private or isinstance(one, Private) for one in said)
        return WHOLE if private else self.of(hint)

    def _class(self, kind: type, fields: Mapping[str, tuple[Any, tuple[str, ...]]]) -> Privacy:
        if kind in self._known:
            return self._known[kind]
        made = self._known[kind] = Privacy()
        for name, (hint, aliases) in fields.items():
            inner = self.of(hint)
            made.fields |= dict.fromkeys((name, *aliases), inner)
        if "root" in fields and getattr(kind, "__pydantic_root_model__", False):
            made.also.append(made.fields["root"])
        if issubclass(kind, tuple):  # named: in JSON it is a list
            made.items = Privacy(also=list(made.fields.values()))
        return made


def _fields_of(kind: type) -> Mapping[str, tuple[Any, tuple[str, ...]]] | None:
    """The type of each field and by which other keys it may be found; None: it has none."""
    if issubclass(kind, BaseModel):
        return {name: (_hint_of(one), _keys_of(one)) for name, one in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "_fields"):
        return {name: (one, ()) for name, one in get_type_hints(kind, include_extras=True).items()}
    return None


def _hint_of(one: FieldInfo) -> Any:
    return Annotated[(one.annotation, *one.metadata)] if one.metadata else one.annotation


def _keys_of(one: FieldInfo) -> tuple[str, ...]:
    return tuple(_texts_in(one.alias, one.validation_alias, one.serialization_alias))


def _texts_in(*aliases: object) -> Iterator[str]:
    for alias in aliases:
        match alias:
            case str():
                yield alias
            case AliasChoices():
                yield from _texts_in(*alias.choices)
            case AliasPath():
                yield from _texts_in(alias.path[0])
