"""Links to streams of events that a browser may open without a token, for a short time.

What a link lets its holder see is in it and signed: one task, or one user's tasks, until a moment.
"""

import hashlib
import hmac
import json
import time
from urllib.parse import urlencode
from uuid import UUID

from pydantic import SecretStr

from uow.errors import SettingsError
from uow.questions.following import Following
from uow.settings.environment import Settings, load_settings
from uow.settings.types import SHORTEST_SECRET

LINK_SECONDS = 900.0
"""How long a link is good unless it is said."""

LONGEST_SECONDS = 86_400.0

_PURPOSE = b"uow events 1\n"
"""Of this key: what signs links signs nothing else."""


class EventLinks:
    """Signs links, and reads those that come back.

    Args:
        secret: The key, of 32 characters or more; the same in every process that signs or reads.

    Raises:
        SettingsError: The secret is too short.
    """

    def __init__(self, secret: str | SecretStr) -> None:
        said = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        if len(said) < SHORTEST_SECRET:
            raise SettingsError(
                f"links to events need a secret of {SHORTEST_SECRET} characters or more"
            )
        self._key = hmac.digest(said.encode(), _PURPOSE, hashlib.sha256)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> "EventLinks":
        """With ``WORKER_API_SECRET``; without settings, from the environment.

        Raises:
            SettingsError: It is not set, or a setting is malformed.
        """
        secret = (settings or load_settings()).api_secret
        if secret is None:
            raise SettingsError("WORKER_API_SECRET is not set; links to events are signed with it")
        return cls(secret)

    def to_task(self, task_id: UUID, *, seconds: float = LINK_SECONDS) -> str:
        """The query of a link that follows one task.

        Args:
            seconds: How long it is good, up to a day; a stream ends then, too.

        Raises:
            ValueError: That is no such time.
        """
        return self._query({"task": str(task_id)}, seconds)

    def to_user(self, user_id: str | int, *, seconds: float = LINK_SECONDS) -> str:
        """The query of a link that follows the tasks of one user; otherwise as `to_task`."""
        return self._query({"user": str(user_id)}, seconds)

    def seconds_left(self, what: Following, until: int, signature: str) -> float:
        """How long a link is good; 0 or less: it is not, or it was never signed."""
        said = {"task": str(what.task)} if what.task else {"user": what.user or ""}
        if not hmac.compare_digest(self._signature(said, until).encode(), signature.encode()):
            return 0.0
        return until - time.time()

    def _query(self, what: dict[str, str], seconds: float) -> str:
        if not 0 < seconds <= LONGEST_SECONDS:
            raise ValueError(f"a link is good for up to {LONGEST_SECONDS:,.0f} s, not {seconds}")
        until = int(time.time() + seconds) + 1
        return urlencode({**what, "until": until, "signature": self._signature(what, until)})

    def _signature(self, what: dict[str, str], until: int) -> str:
        signed = json.dumps([what, until]).encode()
        return hmac.new(self._key, signed, hashlib.sha256).hexdigest()
