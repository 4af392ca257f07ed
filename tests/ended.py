"""Attempts that have ended, as whoever counts them is told."""

from uow.attempt.notes import EndedAlike


def alike(
    name: str, queue: str, outcome: str, waited: float, ran: float,
    error: str | None = None, *, n: int = 1,
) -> EndedAlike:  # fmt: skip
    """So many that have taken as long."""
    return EndedAlike(
        name, queue, outcome, [waited] * n, [ran] * n, [error] * n, [{}] * n, [0.0] * n
    )
