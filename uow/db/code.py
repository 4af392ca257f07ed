"""The statements about which task functions the code of worker processes has.

Many processes run the same code: the names are kept once for each set of them, under a fingerprint
that the row of each process names.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from uow.db.statement import SILENT_SECONDS, TEXTS, Statements, template

_SAY_CODE = template(
    "say_code",
    # Written again by whoever starts, so that it is not forgotten at that very moment.
    """
    INSERT INTO {worker_code} AS code (fingerprint, names) VALUES (:fingerprint, :names)
    ON CONFLICT (fingerprint) DO UPDATE SET seen_at = now()
    RETURNING 1
    """,
    names=TEXTS,
)

_FORGET_CODE = template(
    "forget_code",
    """
    DELETE FROM {worker_code} AS code
    WHERE seen_at < now() - {gone}
      AND NOT EXISTS (SELECT FROM {worker_process} AS process
                      WHERE process.code = code.fingerprint)
    RETURNING 1
    """,
)


@dataclass(frozen=True, slots=True)
class Code:
    """The task functions of a process.

    Attributes:
        fingerprint: The same for the same names, in every process.
        names: Sorted.
    """

    fingerprint: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """That of a process with functions of these names."""
        distinct = tuple(sorted({*names}))
        return cls(sha256("\n".join(distinct).encode()).hexdigest()[:16], distinct)


async def say_code(db: Statements, code: Code, *, limit: float = SILENT_SECONDS) -> None:
    """A process that starts has this code."""
    statement = _SAY_CODE(fingerprint=code.fingerprint, names=list(code.names))
    await db.execute_once(statement, limit=limit)


async def forget_code(db: Statements) -> int:
    """Forget the names of code that no process has any more; returns of how many.

    Not of what a process has said within `uow.db.fragments.GONE_SECONDS`: its row may come later.
    """
    return len(await db.execute_once(_FORGET_CODE()))
