"""OpenAPI: every request and every answer has an example, and it is one that there can be."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from tests.integration.api.apps import api_of
from uow import Settings
from uow.api.routers import health
from uow.api.routes import ROUTERS
from uow.tasks.registry import Registry

Media = dict[str, Any]


def example_of(media: Media, document: dict[str, Any]) -> Any:
    """The first example, of the media type or of its schema; None: there is none."""
    if "example" in media:
        return media["example"]
    return of_schema(media.get("schema", {}), document)


def of_schema(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") == "array" and (item := of_schema(schema["items"], document)):
        return [item]
    found = [schema.get("example"), *schema.get("examples", ())]
    found += [of_schema(one, document) for one in schema.get("anyOf", ())]
    return next((one for one in found if one is not None), None)


def medias(operation: dict[str, Any]) -> Iterator[tuple[str, Media]]:
    """What goes in, and what comes out of what went well; nothing is said of a 204."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield "request", media
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            for media in response.get("content", {}).values():
                yield status, media


@pytest.fixture
def document(unconnected: Settings, registry: Registry) -> dict[str, Any]:
    return api_of(unconnected, registry).openapi()


def test_every_body_and_every_answer_has_an_example(document: dict[str, Any]) -> None:
    without = [
        (method, path, which)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for which, media in medias(operation)
        if path.startswith(("/api", "/tasks", "/health")) and example_of(media, document) is None
    ]
    assert without == []


def test_each_example_is_one_that_the_route_takes_or_gives(document: dict[str, Any]) -> None:
    routes = [route for router in (*ROUTERS, health.router) for route in router.routes]
    for route in routes:
        assert isinstance(route, APIRoute)
        path = route.path.replace(":path", "")
        for method in route.methods or ():
            for which, media in medias(document["paths"][path][method.lower()]):
                field = route.body_field
                kind = field.field_info.annotation if field and which == "request" else None
                check(kind or route.response_model, example_of(media, document))


def check(kind: Any, example: object) -> None:
    """Nothing but a null is missing: FastAPI leaves those out of its document."""
    if kind is None:  # a stream
        return
    faults = set[str]()
    try:
        TypeAdapter(kind).validate_json(TypeAdapter(Any).dump_json(example))
    except ValidationError as error:
        faults = {fault["type"] for fault in error.errors()}
    assert faults <= {"missing"}, (kind, example)
