"""The table of causes, line by line: what is the infrastructure's, whom it hits, what is away."""

import asyncio

import asyncpg
import pytest
from asyncpg.exceptions import InvalidCachedStatementError, TargetServerAttributeNotMatched
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from uow.db.failures import PROXY_FULL, STATES, Cause, Kind, cause_of, is_infrastructure, refuses
from uow.errors import ServerUnreachable, TransactionAborted, UnitOfWorkLost

STATEMENT, CONNECTION, OUTAGE, DISK = Kind


def said(state: str, text: str = "no") -> asyncpg.PostgresError:
    """What the driver makes of the server's error."""
    error = asyncpg.PostgresError.new({"C": state, "M": text, "S": "ERROR"})
    assert isinstance(error, asyncpg.PostgresError)
    return error


def wrapped(driver: Exception, *, invalidated: bool = False) -> DBAPIError:
    """What SQLAlchemy makes of it."""
    adapted = Exception(str(driver))
    adapted.__cause__ = driver
    if isinstance(driver, asyncpg.PostgresError):
        adapted.sqlstate = driver.sqlstate  # type: ignore[attr-defined]
    error = DBAPIError("SELECT 1", {}, adapted, connection_invalidated=invalidated)
    error.__cause__ = adapted
    return error


def caused(error: Exception, by: BaseException) -> Exception:
    """As ``raise error from by``."""
    error.__cause__ = by
    return error


THE_SERVERS = [
    ("08000", CONNECTION),
    ("08001", CONNECTION),
    ("08006", CONNECTION),
    ("08P01", STATEMENT),
    ("25006", STATEMENT),
    ("25P03", CONNECTION),
    ("26000", STATEMENT),
    ("28000", OUTAGE),
    ("28P01", OUTAGE),
    ("40001", STATEMENT),
    ("40P01", STATEMENT),
    ("42P05", STATEMENT),
    ("53000", STATEMENT),
    ("53100", DISK),
    ("53200", STATEMENT),
    ("53300", OUTAGE),
    ("53400", STATEMENT),
    ("57P01", CONNECTION),
    ("57P02", OUTAGE),
    ("57P03", OUTAGE),
    ("57P04", OUTAGE),
    ("57P05", CONNECTION),
    ("58000", STATEMENT),
    ("58030", DISK),
]

THE_TASKS = [
    "22012", "22021", "22P02", "23505", "25P02", "25P04", "3D000", "42501", "42601", "42P01",
    "54000", "55P03", "57014", "58P01", "P0001", "XX000",
]  # fmt: skip


@pytest.mark.parametrize(("state", "kind"), THE_SERVERS)
def test_a_sqlstate_of_the_table_is_the_infrastructures(state: str, kind: Kind) -> None:
    for error in (said(state), wrapped(said(state)), caused(ValueError("mine"), said(state))):
        assert cause_of(error) == Cause(state, kind)
        assert not refuses(error)


def test_every_line_of_the_table_is_tested() -> None:
    tested = {state for state, _ in THE_SERVERS} | {state[:2] for state, _ in THE_SERVERS}
    assert set(STATES) <= tested


@pytest.mark.parametrize("state", THE_TASKS)
def test_any_other_sqlstate_is_the_tasks_own(state: str) -> None:
    assert cause_of(said(state)) is None
    assert cause_of(wrapped(said(state))) is None


@pytest.mark.parametrize(
    ("error", "name", "kind"),
    [
        (ServerUnreachable("refused"), "ServerUnreachable", OUTAGE),
        (TargetServerAttributeNotMatched("no primary"), "TargetServerAttributeNotMatched", OUTAGE),
        (PoolTimeout("limit reached"), "PoolTimeout", STATEMENT),
        (asyncpg.ConnectionDoesNotExistError("in the middle of operation"),
         "ConnectionDoesNotExistError", CONNECTION),
        (caused(asyncpg.ConnectionDoesNotExistError("…"), ConnectionResetError()),
         "ConnectionDoesNotExistError", CONNECTION),
        (caused(asyncpg.ConnectionDoesNotExistError("…"), said("57P01")), "57P01", CONNECTION),
        (caused(asyncpg.ConnectionDoesNotExistError("…"), said("XX000")),
         "ConnectionDoesNotExistError", CONNECTION),
        (asyncpg.InterfaceError("cannot perform operation: connection is closed"),
         "InterfaceError", CONNECTION),
        (asyncpg.InternalClientError("unknown state"), "InternalClientError", CONNECTION),
        (InvalidCachedStatementError("cached plan"), "InvalidCachedStatementError", STATEMENT),
        (wrapped(InvalidCachedStatementError("cached plan")),
         "InvalidCachedStatementError", STATEMENT),
        (wrapped(asyncpg.InterfaceError("whatever"), invalidated=True), "DBAPIError", CONNECTION),
        (UnitOfWorkLost("gone"), "UnitOfWorkLost", CONNECTION),
        (caused(UnitOfWorkLost("gone"), wrapped(said("25P03"))), "25P03", CONNECTION),
        (caused(TransactionAborted("…"), wrapped(said("40P01"))), "40P01", STATEMENT),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_the_driver_or_the_pool_finds_gone_is_the_infrastructures(
    error: Exception, name: str, kind: Kind
) -> None:
    assert cause_of(error) == Cause(name, kind)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
        asyncpg.InterfaceError("the number of query arguments cannot exceed 32767"),
        wrapped(asyncpg.InterfaceError("the number of query arguments cannot exceed 32767")),
        asyncpg.exceptions._base.DataError("invalid input for query argument $1"),
        caused(UnitOfWorkLost("gone"), asyncio.CancelledError()),
        caused(UnitOfWorkLost("gone"), ValueError("which left a statement running")),
        InvalidRequestError("Can't reconnect until invalid transaction is rolled back"),
        ConnectionRefusedError("a mail server"),
        TimeoutError(),
        ValueError("connection is closed"),
    ],
    ids=str,
)
def test_a_mistake_of_the_tasks_code_is_its_own(error: Exception) -> None:
    assert not is_infrastructure(error)


def test_one_lost_connection_among_others_is_found_in_a_group_of_groups() -> None:
    inner = ExceptionGroup("inner", [KeyError("x"), wrapped(said("57P01"))])
    assert cause_of(ExceptionGroup("outer", [ValueError("y"), inner])) == Cause("57P01", CONNECTION)


def test_a_chain_that_never_ends_is_left_off() -> None:
    error = ValueError("its own cause")
    error.__cause__ = error
    assert cause_of(error) is None


@pytest.mark.parametrize(("state", "expected"), [("22021", True), ("42501", True),
                                                 ("57014", False), ("55P03", False),
                                                 ("40P01", False)])  # fmt: skip
def test_what_postgres_refuses_of_our_own_statements(state: str, expected: bool) -> None:
    assert refuses(said(state)) is expected
    assert refuses(wrapped(said(state))) is expected


def test_what_the_driver_cannot_write_is_refused_and_what_is_ours_is_not() -> None:
    assert refuses(asyncpg.exceptions._base.DataError("invalid input for query argument $1"))
    assert not refuses(TypeError("a mistake of ours"))
    assert not refuses(OSError("a network"))


@pytest.mark.parametrize(
    "words", ["query_wait_timeout", "no more connections allowed (max_client_conn)"]
)
def test_a_proxy_whose_pool_is_used_up_is_nobodys_own_failure(words: str) -> None:
    refused = said("08P01", words)
    for error in (
        refused,
        wrapped(refused),
        caused(asyncpg.ConnectionDoesNotExistError(), refused),
    ):
        cause = cause_of(error)
        assert cause == Cause(PROXY_FULL, OUTAGE)
        assert not cause.may_be_its_own
