"""Who calls: the actor of what an audit says of a request."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from uow.acts.actor import Actor


def get_actor(connection: HTTPConnection) -> Actor:
    """Whoever has been let in: the name of the token, as the guard has left it, and the address."""
    name = connection.scope.get("state", {}).get("actor_name", "api")
    address = None if connection.client is None else connection.client.host
    return Actor(name, "api", address)


ActorDep = Annotated[Actor, Depends(get_actor)]
