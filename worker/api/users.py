"""The users of the built-in user tasks."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from uow.api.deps import SessionDep
from uow.api.schemas import NewUser, User
from worker import users
from worker.users import UserId

router = APIRouter(prefix="/users", tags=["users"])


@router.post("", status_code=201)
async def create_user(new: NewUser, session: SessionDep) -> User:
    """Create a user. Enqueues nothing: whoever wants the user welcomed enqueues that."""
    user = await users.create_user(session, username=new.username, email=new.email)
    return User.model_validate(user)


@router.get("/{user_id}")
async def get_user(user_id: Annotated[UserId, Path()], session: SessionDep) -> User:
    """One user."""
    user = await users.get_user(session, user_id)
    if user is None:
        raise HTTPException(404, f"User id {user_id} not found")
    return User.model_validate(user)
