"""Users come, are welcomed, and are forgotten."""

from datetime import timedelta

from uow import SettingsError, TaskContext, task
from worker.errors import MailRefused, UserNotFound, UserTaken
from worker.settings import settings_of
from worker.tasks.mail import compose, send_mail
from worker.tasks.patience import BACKOFF, TRIES_IN_A_DAY
from worker.users import (
    Email,
    UserId,
    Username,
    create_user,
    deactivate_stale_users,
    mark_welcomed,
    require_user,
)

USERS_PER_BATCH = 1000
"""Users that are deactivated in one transaction: their rows are locked for some 10 ms."""

WELCOME = """\
Welcome, {username}!

Your account is ready.
"""


@task("users.create", final=(UserTaken,))
async def create(ctx: TaskContext, username: Username, email: Email, welcome: bool = False) -> int:
    """Create a user and, if asked to, queue the welcome mail: both happen, or neither.

    Returns:
        The new user's id.

    Raises:
        UserTaken: The username or the email is taken; final.
    """
    async with ctx["db"].get_session() as session:
        user = await create_user(session, username=username, email=email)
        if welcome:
            await send_welcome.options(user_id=user.id).enqueue(session, user_id=user.id)
        return user.id


@task(
    "users.send_welcome",
    max_tries=TRIES_IN_A_DAY,
    backoff=BACKOFF,
    final=(UserNotFound, MailRefused, SettingsError),
    timeout=30,
    atomic=False,
)
async def send_welcome(ctx: TaskContext, user_id: UserId) -> str | None:
    """Send the welcome mail, unless that was done before.

    It is recorded once. The mail itself leaves at least once: a worker that dies between the mail
    server's "yes" and our commit sends it again, with the same ``Message-ID``. Two tasks for one
    user that run at the same time may each send one.

    A mail server that cannot take it now is asked again for about a day.

    Returns:
        The address it went to; None: the user was welcomed before.

    Raises:
        UserNotFound: There is no such user; final.
        MailRefused: The mail server will never take it; final.
        SettingsError: No mail server is set; final.
    """
    mail = settings_of(ctx).require_mail()
    async with ctx["db"].get_session() as session:
        user = await require_user(session, user_id)
    if user.welcomed_at is not None:
        return None
    # With atomic=False no connection is held here: the mail server may take its time.
    message = compose(
        mail,
        key=ctx["task"].idempotency_key,
        to=user.email,
        subject=f"Welcome, {user.username}",
        text=WELCOME.format(username=user.username),
    )
    await send_mail(mail, message)
    async with ctx["db"].get_session() as session:
        await mark_welcomed(session, user_id)
    return user.email


@task("users.deactivate_stale", timeout=timedelta(hours=1), atomic=False)
async def deactivate_stale(ctx: TaskContext) -> int:
    """Deactivate the users that were not seen for ``WORKER_STALE_USER_DAYS``. Meant for cron.

    Each batch commits for itself; a repetition finds the others only.

    Returns:
        How many it were in this attempt.
    """
    days, count, last = settings_of(ctx).stale_user_days, 0, 0
    while True:
        async with ctx["db"].get_session() as session:
            ids = await deactivate_stale_users(
                session, days=days, after=last, limit=USERS_PER_BATCH
            )
        if not ids:
            return count
        count, last = count + len(ids), ids[-1]
