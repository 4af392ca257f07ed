"""An act that was asked for with an idempotency key is done once: the key is taken with it.

The key is a row in the transaction of the act itself, so that no crash parts them: either the act
is done and its key taken, or neither.
"""

from dataclasses import dataclass

from uow.db import answers
from uow.db.answers import KeptAnswer
from uow.db.statement import Statements


class AlreadyAsked(Exception):
    """The key is taken: what the act has changed so far is to be rolled back."""


@dataclass(slots=True)
class AskedOnce:
    """A request with its idempotency key.

    Attributes:
        who: Whose key it is: two callers may have the same.
        request: A digest of what is asked; the same key with another one is a mistake.
        status: The answer, should the act be done.
        taken: The act has taken the key.
    """

    who: str
    key: str
    request: str
    status: int = 204
    taken: bool = False

    async def take(self, transaction: Statements) -> None:
        """Take the key, in the transaction of the act.

        Raises:
            AlreadyAsked: It is taken.
        """
        answer = KeptAnswer(self.request, self.status, None)
        if not await answers.take(transaction, self.who, self.key, answer):
            raise AlreadyAsked
        self.taken = True
