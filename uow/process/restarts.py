"""When a process that has crashed is started again, and when that is hopeless.

Pure: no clock and no processes, so that the tests are tables of numbers.
"""

FIRST_PAUSE = 1.0
"""Seconds before the first restart; doubled with each crash in a row."""

LONGEST_PAUSE = 30.0
"""Seconds between restarts at most: what was repaired meanwhile runs again within this."""

STEADY_SECONDS = 60.0
"""Who has lived this long has worked: its next crash is a first one again."""

STARTED_SECONDS = 10.0
"""Who has lived this long has got past its start, or waited for a server, which may come. What
ends earlier stumbles over its settings or its code, which do not mend themselves."""

HOPELESS_ROUNDS = 3
"""Crashes of each process, when none has ever got past its start, after which we give up."""


class Restarts:
    """The crashes of `count` processes, which are numbered from 0."""

    def __init__(self, count: int) -> None:
        self._in_a_row = [0] * count
        self._one_has_started = False

    def pause_after(self, number: int, lived: float, *, by_signal: bool = False) -> float | None:
        """Process `number` has crashed: seconds until it is started again, or None: hopeless.

        Args:
            number: Which one.
            lived: For how many seconds it has run.
            by_signal: A signal has ended it, as one does a task that crashes: neither settings nor
                code that is imported do that.
        """
        if lived >= STEADY_SECONDS:
            self._in_a_row[number] = 0
        self._in_a_row[number] += 1
        self._one_has_started |= by_signal or lived >= STARTED_SECONDS
        if not self._one_has_started and min(self._in_a_row) >= HOPELESS_ROUNDS:
            return None
        return _pause(self._in_a_row[number])


def _pause(crashes: int) -> float:
    doublings = min(crashes - 1, 10)  # after days of crashes 2**n would be no float any more
    return min(FIRST_PAUSE * 2.0**doublings, LONGEST_PAUSE)
