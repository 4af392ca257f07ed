"""The final check and the figures, in SQL over what the demo has left behind."""

from dataclasses import dataclass

from sqlalchemy import text

from worker.demo.house import House

_BY_STATE = text("SELECT state, count(*) AS tasks FROM worker.task GROUP BY state ORDER BY state")

# A row of the file without exactly one user, or whose user lacks exactly one welcome.
_WRONG = text("""
    SELECT given.username
    FROM unnest(CAST(:usernames AS text[])) AS given (username)
    LEFT JOIN users ON users.username = given.username
    LEFT JOIN worker.task AS task ON task.name = 'users.send_welcome'
         AND task.args ->> 'user_id' = CAST(users.id AS text) AND task.state = 'succeeded'
    GROUP BY given.username
    HAVING count(DISTINCT users.id) <> 1 OR count(task.id) <> 1
        OR bool_or(users.welcomed_at IS NULL)
""")

_RATE = text("""
    SELECT count(*) / greatest(extract(epoch FROM max(settled_at) - min(started_at)), 0.001)
    FROM worker.task WHERE name = 'users.send_welcome' AND state = 'succeeded'
""")

_LATENCY = text("""
    SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (
        ORDER BY extract(epoch FROM started_at - run_at) * 1000)
    FROM worker.task WHERE name = 'users.export_data' AND started_at IS NOT NULL
""")


_ERRORS = text("""
    SELECT task.name, error_type, message
    FROM worker.task_error AS task_error JOIN worker.task AS task ON task.id = task_id
    WHERE state = 'failed' ORDER BY task_error.id LIMIT 5
""")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo has shown.

    Attributes:
        wrong_rows: Usernames that have not exactly one user and one welcome.
        mails: How many arrived.
        different_mails: How many of them are no repetition, by their ``Message-ID``.
        recipients: How many people got one.
    """

    by_state: dict[str, int]
    tasks_per_second: float
    latency_p50_ms: float
    latency_p99_ms: float
    rows: int
    wrong_rows: list[str]
    errors: list[str]
    mails: int
    different_mails: int
    recipients: int

    @property
    def repeated_mails(self) -> int:
        """Mails that a receiver can drop, because it has them."""
        return self.mails - self.different_mails

    @property
    def everybody_has_one_mail(self) -> bool:
        """Repetitions apart."""
        return self.recipients == self.different_mails == self.rows

    @property
    def holds(self) -> bool:
        """Every row has exactly one user, one welcome and one mail, and nothing failed."""
        everything_succeeded = self.by_state.keys() == {"succeeded"}
        rows_are_right = self.rows > 0 and not self.wrong_rows
        return rows_are_right and everything_succeeded and self.everybody_has_one_mail


async def summarize(house: House, usernames: list[str]) -> Summary:
    """Ask the database and the mail sink."""
    received = tuple(house.mail.received)
    async with house.db.get_session() as session:
        by_state = {row.state: row.tasks for row in await session.execute(_BY_STATE)}
        wrong = await session.scalars(_WRONG, {"usernames": usernames})
        rate = await session.scalar(_RATE)
        p50, p99 = (await session.scalar(_LATENCY)) or (0.0, 0.0)
        return Summary(
            by_state=by_state,
            tasks_per_second=float(rate or 0),
            latency_p50_ms=p50,
            latency_p99_ms=p99,
            rows=len(usernames),
            wrong_rows=list(wrong),
            errors=[
                f"{row.name}: {row.error_type}: {row.message}"
                for row in await session.execute(_ERRORS)
            ],
            mails=len(received),
            different_mails=len(set(received)),
            recipients=len({recipient for recipient, _ in received}),
        )
