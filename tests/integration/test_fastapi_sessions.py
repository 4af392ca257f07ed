"""A request's session: committed before the response, or rolled back; under a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.pools import checked_out, queue_pool
from tests.servers import serving
from uow import Database, SessionDep, TaskClient, TaskContext, TransactionAborted, task
from uow.errors import SettingsError
from uow.tasks.registry import Registry
from worker.models import User

INSERT = text("INSERT INTO note VALUES ('hello')")
INSERT_ORPHAN = text("INSERT INTO reply VALUES ('nobody')")  # found out at COMMIT


@pytest.fixture(scope="session")
def template(application_template: str) -> str:
    """With a table of somebody's own, that of the application's users."""
    return application_template


class Witness:
    """Looks, from a connection of its own, whether the row is there when the response starts."""

    def __init__(self, app: ASGIApp, db: Database) -> None:
        self.app = app
        self.db = db
        self.saw: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def look(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.saw.append(await notes(self.db))
            await send(message)

        await self.app(scope, receive, look)


async def notes(db: Database) -> int:
    async with db.engine.connect() as connection:
        found = await connection.execute(text("SELECT count(*) FROM note"))
        return int(found.scalar_one())


@pytest.fixture
async def db(db: Database) -> AsyncIterator[Database]:
    async with db.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE note (body text PRIMARY KEY)"))
        await connection.execute(
            text(
                "CREATE TABLE reply (note text REFERENCES note DEFERRABLE INITIALLY DEFERRED,"
                " id serial PRIMARY KEY)"
            )
        )
    yield db
    assert checked_out(db) == 0


@pytest.fixture
def app(db: Database) -> FastAPI:
    app = FastAPI()
    app.state.db = db
    return app


@pytest.fixture(params=["SessionDep", "Depends(db.get_session)"])
def session_of_request(request: pytest.FixtureRequest, db: Database) -> Any:
    """Both ways to ask for a session."""
    if request.param == "SessionDep":
        return SessionDep
    return Annotated[AsyncSession, Depends(db.get_session, scope="function")]


@pytest.fixture
def session_of_default_scope(db: Database) -> Any:
    """What SessionDep would be without its scope: shows that these tests can tell."""
    return Annotated[AsyncSession, Depends(db.get_session)]


def add_insert(app: FastAPI, session_type: Any) -> None:
    @app.post("/")
    async def insert(session: session_type) -> None:
        await session.execute(INSERT)


def add_orphan(app: FastAPI, session_type: Any) -> None:
    @app.post("/")
    async def insert_orphan(session: session_type) -> None:
        await session.execute(INSERT)
        await session.execute(INSERT_ORPHAN)


def raised(caplog: pytest.LogCaptureFixture) -> BaseException | None:
    """What the app has raised to the server."""
    infos = [r.exc_info for r in caplog.records if r.name == "uvicorn.error" and r.exc_info]
    assert len(infos) == 1
    return infos[0][1]


async def test_the_commit_is_done_before_the_response_is_sent(
    app: FastAPI, db: Database, session_of_request: Any
) -> None:
    add_insert(app, session_of_request)
    witness = Witness(app, db)
    async with serving(witness) as http:
        assert (await http.post("/")).status_code == 200
    assert witness.saw == [1]


async def test_with_the_default_scope_it_would_not_be(
    app: FastAPI, db: Database, session_of_default_scope: Any
) -> None:
    add_insert(app, session_of_default_scope)
    witness = Witness(app, db)
    async with serving(witness) as http:
        assert (await http.post("/")).status_code == 200
    assert witness.saw == [0]
    assert await notes(db) == 1


async def test_a_client_that_has_read_the_headers_sees_the_row(app: FastAPI, db: Database) -> None:
    body_may_end = asyncio.Event()

    @app.post("/")
    async def insert(session: SessionDep) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"begin"
            await body_may_end.wait()
            yield b"end"

        await session.execute(INSERT)
        return StreamingResponse(body())

    async with serving(app) as http, http.stream("POST", "/") as response:
        assert response.status_code == 200
        assert await notes(db) == 1
        assert checked_out(db) == 0
        body_may_end.set()
        assert await response.aread() == b"beginend"


async def test_a_failed_commit_is_a_500(
    app: FastAPI, db: Database, session_of_request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    add_orphan(app, session_of_request)
    async with serving(app) as http:
        assert (await http.post("/")).status_code == 500
    assert isinstance(raised(caplog), IntegrityError)
    assert await notes(db) == 0


async def test_with_the_default_scope_it_would_be_a_200(
    app: FastAPI, db: Database, session_of_default_scope: Any
) -> None:
    add_orphan(app, session_of_default_scope)
    async with serving(app) as http:
        assert (await http.post("/")).status_code == 200
    assert await notes(db) == 0


async def test_an_http_exception_rolls_back_and_keeps_its_status(
    app: FastAPI, db: Database, session_of_request: Any
) -> None:
    @app.post("/")
    async def insert_and_refuse(session: session_of_request) -> None:
        await session.execute(INSERT)
        raise HTTPException(418, "I am a teapot", headers={"X-Pot": "tea"})

    async with serving(app) as http:
        response = await http.post("/")
    assert (response.status_code, response.headers["X-Pot"]) == (418, "tea")
    assert response.json() == {"detail": "I am a teapot"}
    assert await notes(db) == 0


async def test_an_unexpected_exception_rolls_back_and_is_a_500(
    app: FastAPI, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    @app.post("/")
    async def insert_and_fail(session: SessionDep) -> None:
        await session.execute(INSERT)
        raise ZeroDivisionError

    async with serving(app) as http:
        assert (await http.post("/")).status_code == 500
    assert isinstance(raised(caplog), ZeroDivisionError)
    assert await notes(db) == 0


async def test_a_response_that_does_not_fit_its_model_rolls_back(
    app: FastAPI, db: Database
) -> None:
    @app.post("/", response_model=int)
    async def insert(session: SessionDep) -> Any:
        await session.execute(INSERT)
        return "not a number"

    async with serving(app) as http:
        assert (await http.post("/")).status_code == 500
    assert await notes(db) == 0


async def test_a_swallowed_failed_execute_is_a_500_and_stores_nothing(
    app: FastAPI, db: Database, session_of_request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @app.post("/")
    async def insert_twice(session: session_of_request) -> None:
        await session.execute(INSERT)
        with pytest.raises(IntegrityError):
            await session.execute(INSERT)

    async with serving(app) as http:
        assert (await http.post("/")).status_code == 500
    error = raised(caplog)
    assert isinstance(error, TransactionAborted)
    assert "UniqueViolation" in str(error)
    assert await notes(db) == 0


async def test_a_swallowed_failed_flush_is_a_500_and_stores_nothing(
    app: FastAPI, db: Database, session_of_request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @app.post("/")
    async def flush_twice(session: session_of_request) -> None:
        await session.execute(INSERT)
        session.add_all(User(username="ann", email=f"{n}@example.com") for n in range(2))
        with pytest.raises(IntegrityError):
            await session.flush()

    async with serving(app) as http:
        assert (await http.post("/")).status_code == 500
    error = raised(caplog)
    assert isinstance(error, TransactionAborted)
    assert "UniqueViolation" in str(error)
    assert await notes(db) == 0


async def test_an_error_in_a_savepoint_of_the_request_does_not_count(
    app: FastAPI, db: Database
) -> None:
    @app.post("/")
    async def insert_twice(session: SessionDep) -> None:
        await session.execute(INSERT)
        with pytest.raises(DBAPIError):
            async with session.begin_nested():
                await session.execute(INSERT)

    async with serving(app) as http:
        assert (await http.post("/")).status_code == 200
    assert await notes(db) == 1


async def test_requests_at_once_have_a_session_each(app: FastAPI, db: Database) -> None:
    # More than there are connections: they wait for each other and lose nothing.
    many = 3 * queue_pool(db).size()

    @app.post("/{number}")
    async def insert(number: int, session: SessionDep) -> None:
        await session.execute(text("INSERT INTO note VALUES (:body)"), {"body": str(number)})
        if number % 3 == 0:
            raise HTTPException(409)

    async with serving(app) as http:
        responses = await asyncio.gather(*(http.post(f"/{number}") for number in range(many)))
    statuses = [response.status_code for response in responses]
    assert statuses == [409 if number % 3 == 0 else 200 for number in range(many)]
    assert await notes(db) == statuses.count(200)
    assert checked_out(db) == 0


async def test_sub_dependencies_share_the_session_of_the_request(app: FastAPI) -> None:
    async def sub(session: SessionDep) -> AsyncSession:
        return session

    @app.get("/")
    async def compare(session: SessionDep, same: Annotated[Any, Depends(sub)]) -> bool:
        return session is same

    async with serving(app) as http:
        assert (await http.get("/")).json() is True


async def test_a_background_task_sees_the_committed_row(app: FastAPI, db: Database) -> None:
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def look() -> None:
        async with db.get_session() as session:
            seen.put_nowait((await session.execute(text("SELECT count(*) FROM note"))).scalar_one())

    @app.post("/")
    async def insert(session: SessionDep, background: BackgroundTasks) -> None:
        await session.execute(INSERT)
        background.add_task(look)

    async with serving(app) as http:
        assert (await http.post("/")).status_code == 200
        assert await asyncio.wait_for(seen.get(), 10) == 1


async def test_one_database_serves_requests_and_blocks(
    app: FastAPI, db: Database, session_of_request: Any
) -> None:
    add_insert(app, session_of_request)
    async with serving(app) as http:
        async with db.get_session() as session:
            await session.execute(text("INSERT INTO note VALUES ('from a block')"))
            assert (await http.post("/")).status_code == 200
        assert await notes(db) == 2


async def test_an_app_without_a_database_says_what_is_missing() -> None:
    app = FastAPI()
    add_insert(app, SessionDep)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as http:
        with pytest.raises(SettingsError, match=r"app\.state\.db is not a uow\.Database"):
            await http.post("/")


class TestEnqueueInARequest:
    """A task that is enqueued in a request exists if the request succeeds."""

    @pytest.fixture
    def app(self, app: FastAPI, registry: Registry, client: TaskClient) -> FastAPI:
        @task("welcome", registry=registry)
        async def welcome(ctx: TaskContext, name: str) -> None: ...

        @app.post("/{status}")
        async def enqueue(status: int, session: SessionDep) -> str:
            handle = await welcome.enqueue(session, name="ann")
            if status != 200:
                raise HTTPException(status)
            return str(handle.id)

        return app

    async def count(self, db: Database) -> int:
        async with db.engine.connect() as connection:
            found = await connection.execute(text("SELECT count(*) FROM task"))
            return int(found.scalar_one())

    async def test_it_is_there_once_the_request_is_answered(
        self, app: FastAPI, db: Database
    ) -> None:
        async with serving(app) as http:
            assert (await http.post("/200")).status_code == 200
        assert await self.count(db) == 1

    async def test_an_http_exception_leaves_no_task(
        self, app: FastAPI, db: Database, client: TaskClient
    ) -> None:
        async with serving(app) as http:
            assert (await http.post("/409")).status_code == 409
        await client.flush()
        assert await self.count(db) == 0
        assert await client.redis.keys("*") == []
