"""Counts of attempts by name, queue and outcome, as a process writes and the leader reads them.

What a task function, a queue or an error may be called has bounds here: what does not fit among
those that are told apart is counted as `OTHER`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field, TypeAdapter
from pydantic_core import to_json

from uow.attempt.notes import EndedAlike
from uow.db.durations import BUCKETS, bucket_of

OTHER = "other"
"""What comes when there are enough to tell apart."""

MOST_KEYS = 1_000
"""Of name, queue and outcome, in ten seconds of one process."""

MOST_ERROR_TYPES = 200
"""Of one task function: anybody's code may make classes as it runs."""

_MOST = 2**31 - 1
_MOST_SECONDS = 7 * 86_400.0

_Text = Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")]
_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Buckets = list[tuple[Annotated[int, Field(ge=0, lt=BUCKETS)], _Count]]
_Attempts = list[tuple[_Text, _Text, _Text, _Count, _Buckets, _Buckets]]
_Errors = list[tuple[_Text, _Text, _Count]]
_Ago = Annotated[float, Field(ge=0, le=_MOST_SECONDS)]
_READER = TypeAdapter(list[tuple[_Ago, _Attempts, _Errors]])


class OutcomeTally:
    """How many, and how long they waited and ran, by bucket."""

    __slots__ = ("n", "ran", "waited")

    def __init__(self) -> None:
        self.n = 0
        self.waited = Counter[int]()
        self.ran = Counter[int]()

    def add(
        self, n: int, waited: Iterable[tuple[int, int]], ran: Iterable[tuple[int, int]]
    ) -> None:
        """So many more."""
        self.n += n
        for bucket, count in waited:
            self.waited[bucket] += count
        for bucket, count in ran:
            self.ran[bucket] += count


class Counts:
    """Those of one span of time.

    Attributes:
        attempts: By name, queue and outcome.
        errors: How many, by name and type.
    """

    def __init__(self) -> None:
        self.attempts: dict[tuple[str, str, str], OutcomeTally] = {}
        self.errors = Counter[tuple[str, str]]()
        self._types = Counter[str]()

    def __bool__(self) -> bool:
        return bool(self.attempts)

    def note(self, ended: EndedAlike) -> None:
        """These have ended, too."""
        tally = self.tally(ended[:3])
        tally.n += len(ended.ran)
        tally.waited.update(map(bucket_of, ended.waited))
        tally.ran.update(map(bucket_of, ended.ran))
        for error_type, n in Counter(ended.error_types).items():
            if error_type is not None:
                self.note_error(ended.name, error_type, n)

    def tally(self, key: tuple[str, str, str]) -> OutcomeTally:
        """That of a name, a queue and an outcome; or of the others."""
        found = self.attempts.get(key)
        if found is None:
            if len(self.attempts) >= MOST_KEYS:
                key = (OTHER, OTHER, key[2])
            found = self.attempts.setdefault(key, OutcomeTally())
        return found

    def note_error(self, name: str, error_type: str, n: int) -> None:
        """So many more errors of a type."""
        if (name, error_type) not in self.errors:
            if self._types[name] >= MOST_ERROR_TYPES:
                error_type = OTHER
            self._types[name] += 1
        self.errors[name, error_type] += n

    def add(self, other: "Counts") -> None:
        """Those of another span, too."""
        for key, tally in other.attempts.items():
            self.tally(key).add(tally.n, tally.waited.items(), tally.ran.items())
        for (name, error_type), n in other.errors.items():
            self.note_error(name, error_type, n)


class Slice(NamedTuple):
    """Counts, and how many seconds ago they ended."""

    ago: float
    counts: Counts


def to_text(slices: Sequence[Slice]) -> str:
    """JSON of slices."""
    return to_json([(ago, _attempts(counts), _errors(counts)) for ago, counts in slices]).decode()


def _attempts(counts: Counts) -> list[tuple[object, ...]]:
    return [
        (*(part[:255] for part in key), tally.n, [*tally.waited.items()], [*tally.ran.items()])
        for key, tally in counts.attempts.items()
    ]


def _errors(counts: Counts) -> list[tuple[str, str, int]]:
    return [(name[:255], type_[:255], n) for (name, type_), n in counts.errors.items()]


def from_text(text: str) -> list[Slice]:
    """The slices of a JSON.

    Raises:
        ValueError: It is none.
    """
    read = _READER.validate_json(text)
    return [Slice(ago, _read(attempts, errors)) for ago, attempts, errors in read]


def _read(attempts: _Attempts, errors: _Errors) -> Counts:
    counts = Counts()
    for name, queue, outcome, n, waited, ran in attempts:
        counts.tally((name, queue, outcome)).add(n, waited, ran)
    for name, error_type, n in errors:
        counts.note_error(name, error_type, n)
    return counts
