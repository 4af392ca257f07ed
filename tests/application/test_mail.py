"""`users.send_welcome`, against a mail server on loopback."""

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import aiosmtplib
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.conftest import Drain
from tests.loopback import MailServer, mail_server, make_certificate
from uow import Database, TaskClient, TaskFailed, TaskFunction, TaskHandle, TaskState
from uow.errors import SettingsError
from uow.tasks.registry import Registry
from uow.tasks.retry import Backoff
from worker.errors import MailRefused
from worker.settings import MailSettings, WorkerAppSettings
from worker.tasks.mail import compose, send_mail
from worker.tasks.users import send_welcome
from worker.tasks.webhooks import deliver
from worker.users import create_user, get_user

IDLE_IN_TRANSACTION = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND state LIKE 'idle in transaction%' AND query LIKE '%users%'"  # not the relay's
)


@pytest.fixture
async def mails() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


@pytest.fixture
def settings(settings: WorkerAppSettings, mails: MailServer) -> WorkerAppSettings:
    return settings.model_copy(update=to(mails.port))


def to(port: int, **more: object) -> dict[str, object]:
    """WorkerAppSettings for a mail server on loopback."""
    return {
        "smtp_host": "localhost",
        "smtp_port": port,
        "smtp_tls": "none",
        "mail_from": "Our Service <hello@example.org>",
        **more,
    }


@pytest.fixture
def registry() -> Registry:
    """The task, with the pauses between its tries left out."""
    registry = Registry()
    policy = dataclasses.replace(send_welcome.policy, backoff=Backoff(base=0, cap=0))
    registry.add(dataclasses.replace(send_welcome, policy=policy))
    return registry


@pytest.fixture
async def ann(db: Database) -> int:
    async with db.get_session() as session:
        return (await create_user(session, username="Ann Å", email="ann@example.com")).id


Settle = Callable[[int], Awaitable[TaskHandle[Any]]]


@pytest.fixture
def settle(client: TaskClient, drain: Drain) -> Settle:
    """Welcome a user, and run workers until the task is settled, however many tries it takes."""

    async def run(user_id: int) -> TaskHandle[Any]:
        handle = await client.enqueue(send_welcome, user_id=user_id)
        while not (await handle.status()).settled:
            await drain()
        return handle

    return run


async def welcomed(db: Database, user_id: int) -> bool:
    async with db.get_session() as session:
        user = await get_user(session, user_id)
        assert user is not None
        return user.welcomed_at is not None


async def failure(client: TaskClient, handle: TaskHandle[Any]) -> tuple[str, str, int]:
    """What the task failed with, and after how many tries."""
    with pytest.raises(TaskFailed) as failed:
        await handle.result(5)
    view = await client.get(handle.id)
    assert view is not None
    return failed.value.error_type, failed.value.message, view.tries


# -- it arrives


async def test_a_user_gets_the_welcome_mail_and_is_marked_as_welcomed(
    settle: Settle, mails: MailServer, db: Database, ann: int
):
    handle = await settle(ann)
    assert await handle.result(5) == "ann@example.com"
    assert await welcomed(db, ann)
    [mail] = mails.mails
    assert mail["To"] == "ann@example.com"
    assert mail["From"] == "Our Service <hello@example.org>"
    assert mail["Subject"] == "Welcome, Ann Å"
    assert mail["Message-ID"] == f"<{handle.id}@example.org>"
    assert mail["Date"]
    assert "Welcome, Ann Å!" in mail.get_content()


async def test_a_user_who_was_welcomed_gets_no_second_mail(
    settle: Settle, mails: MailServer, ann: int
):
    await settle(ann)
    again = await settle(ann)
    assert await again.result(5) is None
    assert len(mails.mails) == 1


async def test_a_mail_that_is_sent_again_has_the_same_message_id(
    client: TaskClient, settle: Settle, mails: MailServer, ann: int
):
    mails.data = ["451 Try again later", "452 Full just now"]
    handle = await settle(ann)
    assert await handle.result(5) == "ann@example.com"
    view = await client.get(handle.id)
    assert view is not None
    assert (view.attempt, view.tries) == (3, 2)
    assert [mail["Message-ID"] for mail in mails.mails] == [f"<{handle.id}@example.org>"] * 3


async def test_no_transaction_is_open_while_the_mail_server_takes_its_time(
    settle: Settle, mails: MailServer, db: Database, ann: int
):
    idle = []

    async def ask() -> None:
        idle.append((await db.execute_once(IDLE_IN_TRANSACTION, {})).scalar_one())

    mails.on_data = ask
    await settle(ann)
    assert idle == [0]


async def test_a_task_that_was_cancelled_meanwhile_records_nothing(
    client: TaskClient, drain: Drain, mails: MailServer, db: Database, ann: int
):
    handle = await client.enqueue(send_welcome, user_id=ann)

    async def cancel() -> None:
        await handle.cancel()

    mails.on_data = cancel
    await drain()
    assert await handle.status() is TaskState.CANCELLED
    assert not await welcomed(db, ann)


# -- it does not


async def test_what_the_mail_server_will_never_take_is_a_final_failure(
    client: TaskClient, settle: Settle, mails: MailServer, db: Database, ann: int
):
    mails.rcpt = ["550 No such mailbox"]
    kind, message, tries = await failure(client, await settle(ann))
    assert (kind, tries) == ("MailRefused", 1)
    assert message == "the mail server answered 550 No such mailbox"
    assert not await welcomed(db, ann)


async def test_an_unknown_user_is_a_final_failure(client: TaskClient, settle: Settle, ann: int):
    answer = await failure(client, await settle(ann + 1))
    assert answer == ("UserNotFound", f"there is no user {ann + 1}", 1)


class TestWithoutMailServer:
    @pytest.fixture
    def settings(self, settings: WorkerAppSettings) -> WorkerAppSettings:
        return settings.model_copy(update={"smtp_host": None})

    async def test_no_mail_server_in_the_settings_is_a_final_failure(
        self, client: TaskClient, settle: Settle, ann: int
    ):
        kind, message, tries = await failure(client, await settle(ann))
        assert (kind, tries) == ("SettingsError", 1)
        assert "WORKER_SMTP_HOST" in message


# -- what the mail server says


async def send(
    server: MailServer,
    tls: Literal["none", "starttls", "tls"] = "none",
    *,
    sender: str = "us@example.org",
    to: str = "a@example.com",
) -> Exception | None:
    """Send a mail with a login; returns what went wrong."""
    mail = MailSettings("localhost", server.port, sender, tls, "us", SecretStr("password"))
    try:
        await send_mail(mail, compose(mail, key="1", to=to, subject="Hi", text="Hi"))
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize(
    ("step", "answer", "final"),
    [
        ("sender", "451 Ask me later", False),
        ("sender", "530 Authentication required", False),
        ("sender", "550 Not from you", True),
        ("rcpt", "421 Closing down", False),
        ("rcpt", "450 Mailbox busy", False),
        ("rcpt", "451 Greylisted, come again", False),
        ("rcpt", "550 No such mailbox", True),
        ("data", "451 Try again later", False),
        ("data", "554 We do not want this", True),
        ("login", "535 Wrong password", False),
    ],
)
async def test_only_what_will_never_be_taken_is_final(
    mails: MailServer, step: str, answer: str, final: bool
):
    setattr(mails, step, [answer])
    error = await send(mails)
    assert isinstance(error, send_welcome.policy.final) is final
    assert answer[4:] in str(error)


@pytest.mark.parametrize(
    "answers",
    [
        ["421 Busy"],
        ["554 Not from this address"],
        ["220 Hello", "550 Who are you?", "550 Who are you?"],
        ["220 Hello", "250-Me\r\n250 STARTTLS", "554 No TLS just now"],
    ],
    ids=["busy", "greeting", "helo", "starttls"],
)
async def test_an_answer_before_the_mail_is_about_us_and_is_tried_again(answers: list[str]):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in answers:
            writer.write(f"{said}\r\n".encode())
            if said is not answers[-1]:
                await reader.readline()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        error = await send(MailServer(port=server.sockets[0].getsockname()[1]), "starttls")
    assert isinstance(error, aiosmtplib.SMTPException)
    assert not isinstance(error, send_welcome.policy.final)
    assert answers[-1][4:] in str(error)


async def test_a_mail_server_that_is_away_is_tried_again():
    async with mail_server() as gone:
        pass
    error = await send(gone)
    assert isinstance(error, aiosmtplib.SMTPConnectError)
    assert not isinstance(error, send_welcome.policy.final)


async def test_a_mail_server_that_greylists_is_asked_again_until_it_takes_the_mail(
    client: TaskClient, settle: Settle, mails: MailServer, ann: int
):
    mails.rcpt = ["451 Greylisted, come again"] * 10
    handle = await settle(ann)
    assert await handle.result(5) == "ann@example.com"
    view = await client.get(handle.id)
    assert view is not None
    assert (view.tries, len(mails.mails)) == (10, 1)


@pytest.mark.parametrize("function", [send_welcome, deliver], ids=lambda function: function.name)
def test_what_somebody_elses_server_must_take_is_tried_for_a_day_and_once_an_hour_at_least(
    function: TaskFunction[..., Any],
):
    class Average(random.Random):
        def random(self) -> float:
            return 0.5

    policy = function.policy
    pauses = [policy.backoff.delay(tries, Average()) for tries in range(1, policy.max_tries)]
    assert 23 < sum(pauses) / 3600 < 25
    assert pauses[0] < 10
    assert max(pauses) <= 3600


# -- addresses beyond ASCII


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
        ("ann@stra\u00dfe.example", "ann@xn--strae-oqa.example"),  # not strasse, which is another's
        ("ann@\u4f8b\u3048.jp", "ann@xn--r8jz45g.jp"),
        ("ann@under_score.example", "ann@under_score.example"),
    ],
)
@pytest.mark.parametrize("utf8", [False, True])
async def test_a_domain_beyond_ascii_goes_out_as_name_servers_know_it(
    given: str, sent: str, utf8: bool
):
    async with mail_server(utf8=utf8) as server:
        assert await send(server, sender=f"Us <{given}>", to=given) is None
    [mail] = server.mails
    assert server.envelopes == [(sent, sent)]
    assert (mail["From"], mail["To"]) == (f"Us <{sent}>", sent)
    assert mail["Message-ID"] == f"<1@{sent.partition('@')[2]}>"


async def test_a_name_beyond_ascii_needs_a_server_that_takes_it(mails: MailServer):
    error = await send(mails, to="zo\u00eb@example.com")
    assert isinstance(error, send_welcome.policy.final)
    assert "SMTPUTF8" in str(error)
    async with mail_server(utf8=True) as server:
        assert await send(server, to="zo\u00eb@example.com") is None
    assert server.envelopes == [("us@example.org", "zo\u00eb@example.com")]


async def test_a_domain_that_can_be_none_is_a_final_failure_of_whoever_gave_it(mails: MailServer):
    assert isinstance(await send(mails, to="ann@\u2603.example"), MailRefused)
    error = await send(mails, sender="us@\u2603.example")
    assert isinstance(error, SettingsError)
    assert "WORKER_MAIL_FROM" in str(error)


# -- how the connection is secured


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path)


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The certificate, trusted by this process."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


async def test_starttls_is_used_before_the_login(trusted: Path):
    async with mail_server(starttls=trusted) as server:
        assert await send(server, "starttls") is None
    assert (server.secure, server.logins) == ([True], [(b"us", b"password")])


async def test_tls_from_the_first_byte_is_used(trusted: Path):
    async with mail_server(tls=trusted) as server:
        assert await send(server, "tls") is None
    assert (len(server.mails), server.logins) == (1, [(b"us", b"password")])


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_server_whose_certificate_nobody_trusts_gets_neither_mail_nor_password(
    certificate: Path, tls: Literal["starttls", "tls"]
):
    async with mail_server(**{tls: certificate}) as server:
        assert "CERTIFICATE_VERIFY_FAILED" in str(await send(server, tls))
    assert (server.mails, server.logins) == ([], [])


async def test_a_server_that_does_not_offer_starttls_gets_neither_mail_nor_password():
    async with mail_server() as server:
        assert "STARTTLS" in str(await send(server, "starttls"))
    assert (server.mails, server.logins) == ([], [])


async def test_none_sends_in_the_clear_even_if_starttls_is_offered(certificate: Path):
    async with mail_server(starttls=certificate) as server:
        assert await send(server, "none") is None
    assert server.secure == [False]
