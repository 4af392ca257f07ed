"""How long these tasks try what somebody else's server has to take.

A mail server that greylists says "come again" for minutes, one that is being moved for hours. So
the pauses grow to an hour, and the tries last for about a day.
"""

from uow import Backoff

LONGEST_PAUSE = 3600.0
"""Seconds."""

BACKOFF = Backoff(base=5.0, cap=LONGEST_PAUSE)

TRIES_IN_A_DAY = 37
"""So many end 24 hours after the first, on average."""
