"""Our tables about an installation itself: who it is, and the services that it serves."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from uow.db.base import Base


class WorkerIdentity(Base):
    """What tells this set of tables from every other one, wherever it is moved to; one row."""

    __tablename__ = "worker_identity"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class WorkerApp(Base):
    """A service: where the tasks of its schedules go whose functions name no queue."""

    __tablename__ = "worker_app"

    app: Mapped[str] = mapped_column(primary_key=True)
    queue: Mapped[str]
    #: When a live worker last said so, and served it.
    seen_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
