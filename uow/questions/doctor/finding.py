"""What a check says: findings, each of a kind that has an id, a severity and a meaning.

docs/doctor.md has every kind; a test holds the two against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is, the worst first."""

    BROKEN = "broken"
    WARNING = "warning"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found.

    Attributes:
        means: What it leads to, in a sentence; the same for all of its id.
        proof: What was seen.
        mend: The line that mends it: a command, a statement or a setting where there is one.
    """

    id: str
    severity: Severity
    means: str
    proof: str
    mend: str


@dataclass(frozen=True, slots=True)
class FindingKind:
    """A kind of finding."""

    id: str
    severity: Severity
    means: str

    def found(self, proof: str, mend: str) -> Finding:
        """A finding of this kind."""
        return Finding(self.id, self.severity, self.means, proof, mend)


KINDS: dict[str, FindingKind] = {}
"""Every kind there is, by its id."""


def broken(id_: str, means: str) -> FindingKind:
    """A kind of finding with which tasks do not run, or not as they should."""
    return _kind(id_, Severity.BROKEN, means)


def warning(id_: str, means: str) -> FindingKind:
    """A kind of finding that somebody is to look at."""
    return _kind(id_, Severity.WARNING, means)


def unknown(id_: str, means: str) -> FindingKind:
    """A kind of finding for what could not be looked at."""
    return _kind(id_, Severity.UNKNOWN, means)


def exit_code(findings: Sequence[Finding]) -> int:
    """0: nothing was found; 2: something is broken; 1: something else was found."""
    if any(one.severity is Severity.BROKEN for one in findings):
        return 2
    return 1 if findings else 0


def _kind(id_: str, severity: Severity, means: str) -> FindingKind:
    if id_ in KINDS:
        raise ValueError(f"there are two kinds of finding {id_}")
    one = KINDS[id_] = FindingKind(id_, severity, means)
    return one
