"""The users, over HTTP."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel, ConfigDict

from uow import SessionDep
from worker import users
from worker.errors import UserTaken
from worker.users import Email, UserId, Username

router = APIRouter(prefix="/users", tags=["users"])


class NewUser(BaseModel):
    """A user to be created."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    username: Username
    email: Email


class User(BaseModel):
    """A user."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    username: str
    email: str
    is_active: bool
    created_at: datetime
    last_seen_at: datetime | None
    welcomed_at: datetime | None


@router.post("", status_code=201)
async def create_user(new: NewUser, session: SessionDep) -> User:
    """Create a user. Enqueues nothing: whoever wants the user welcomed enqueues that."""
    try:
        user = await users.create_user(session, username=new.username, email=new.email)
    except UserTaken as error:
        raise HTTPException(409, str(error)) from error
    return User.model_validate(user)


@router.get("/{user_id}")
async def get_user(user_id: Annotated[UserId, Path()], session: SessionDep) -> User:
    """One user."""
    user = await users.get_user(session, user_id)
    if user is None:
        raise HTTPException(404, f"User id {user_id} not found")
    return User.model_validate(user)
