"""Who acts over HTTP, as the audit says it."""

from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import HTTPConnection

from uow.acts.actor import Actor

LONGEST_KEY = 255
"""Characters of an idempotency key."""


def get_actor(connection: HTTPConnection) -> Actor:
    """The caller: by the name of the token, where whoever let it in has noted it."""
    name = connection.scope.get("state", {}).get("actor_name")
    if not isinstance(name, str):
        name = "token" if "authorization" in connection.headers else "loopback"
    address = connection.client.host if connection.client is not None else None
    return Actor(name, "api", address)


ActorDep = Annotated[Actor, Depends(get_actor)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=LONGEST_KEY,
        description="Asked again with the same one, a request is done once.",
    ),
]
