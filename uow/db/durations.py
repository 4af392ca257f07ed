"""How many took how long, in numbers that can be added up: buckets whose bounds never change.

Each bucket ends at √2 times where it begins, from a quarter of a millisecond on; the first has all
that took less, and the last, from some fifty hours on, all that took longer.
"""

import math
from collections.abc import Sequence

BUCKETS = 60

LEAST_SECONDS = 0.000_25
"""Where the first bucket begins; also what is shorter is in it."""

_STEPS_PER_DOUBLING = 2
_LAST_BEGINS = LEAST_SECONDS * 2 ** ((BUCKETS - 1) / _STEPS_PER_DOUBLING)


def bucket_of(seconds: float) -> int:
    """The bucket of a duration; of one that a clock set back has made negative: the first."""
    if not seconds > LEAST_SECONDS:
        return 0
    if seconds >= _LAST_BEGINS:
        return BUCKETS - 1
    return int(_STEPS_PER_DOUBLING * math.log2(seconds / LEAST_SECONDS))


def middle_of(bucket: int) -> float:
    """Seconds: the geometric middle of a bucket, at most 19 % from all that is in it."""
    return float(LEAST_SECONDS * 2 ** ((bucket + 0.5) / _STEPS_PER_DOUBLING))


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The seconds that this share of them did not exceed, ± 19 %; None: there are none.

    Args:
        counts: Of each bucket, as many as there are.
        share: 0.95 for the 95th percentile.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, passed = max(math.ceil(total * share), 1), 0
    for bucket, count in enumerate(counts):
        passed += count
        if passed >= wanted:
            return middle_of(bucket)
    raise AssertionError("a share is at most 1")
