"""What Redis refuses for good, as against what passes by itself.

A server that is away, is loading, is full or has become a replica comes round; nobody has to do
anything but wait. A missing right, a wrong password or a key of another type stays as it is until
somebody mends it: to wait for that would look like an outage that never ends.
"""

import re
from collections.abc import Mapping

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    DataError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

# As in scripts/try.lua. Redis before 7 says them in the middle of a script's error.
_PASSING = frozenset({
    "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY",
    "TRYAGAIN",
})  # fmt: skip
_WORD = re.compile("[A-Z]+")
_PIPELINE = "of pipeline caused error: "


class EntriesRefused(ResponseError):
    """Redis has refused some entries of a batch for good; the others are done.

    Attributes:
        reasons: What it said, by the entry's job id.
        done: How many of the others there was something to do for.
    """

    def __init__(self, reasons: Mapping[str, str], done: int = 0) -> None:
        one, reason = next(iter(reasons.items()))
        others = f" and {len(reasons) - 1:,} others" if len(reasons) > 1 else ""
        super().__init__(f"{reason} (job {one!r}{others})")
        self.reasons = dict(reasons)
        self.done = done


def is_of_a_replica(error: ResponseError) -> bool:
    """Whether the server that was asked to write has become a replica."""
    return isinstance(error, ReadOnlyError) or "-READONLY " in str(error)  # as Redis 6.2 says it


def is_refusal(error: BaseException) -> bool:
    """Whether `error` stays until somebody changes an account, a setting or the data."""
    if isinstance(error, AuthenticationError | AuthorizationError | DataError | EntriesRefused):
        return True  # of entries, what they are called is in the text
    if isinstance(error, RedisConnectionError):  # of a Unix socket the login is part of it
        return error.__cause__ is not None and is_refusal(error.__cause__)
    if not isinstance(error, ResponseError) or isinstance(error, OutOfMemoryError | ReadOnlyError):
        return False
    said = str(error).rpartition(_PIPELINE)[2]  # in front of that, redis-py repeats the command
    return _PASSING.isdisjoint(_WORD.findall(said))
