"""How long a task waits for a deploy that brings the code it needs."""

from uow.errors import ParametersDiffer, UnknownTask
from uow.tasks.outcome import HandedBack
from uow.telemetry.description import one_line

LONGEST_WAIT = 30.0
"""Seconds between two deliveries of a stray at most: a deploy is noticed within it."""

Fault = UnknownTask | ParametersDiffer
"""What a process lacks."""


def waiting(fault: Fault, waited: float) -> HandedBack:
    """The outcome of one that has waited `waited` seconds and may wait on."""
    reason = f"{one_line(fault)}; it waits for a deploy"
    return HandedBack(pause_after(waited), reason, is_stray=True)


def pause_after(waited: float) -> float:
    """Seconds until it is delivered again: doubled each time."""
    return min(max(waited, 1.0), LONGEST_WAIT)


def in_vain(fault: Fault, waited: float) -> Fault:
    """The error of one whose grace is over."""
    return type(fault)(f"{fault} (waited {waited:.0f} s for a deploy)")
