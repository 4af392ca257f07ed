"""Which environment variables are settings: a slip of the pen is found, the rest left alone."""

import re
from collections.abc import Mapping, Sequence

from uow.spelling import did_you_mean

PREFIX = "WORKER_"

NEAR = 0.8
"""How like one of ours a name is that was surely meant to be it; 1: the same."""

# Kubernetes sets these in every container for a Service called "worker", or "worker-" and more.
_SERVICE = re.compile(
    r"WORKER_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_PORT = re.compile(r"(\w+_)?PORT", re.IGNORECASE)
_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def is_from_kubernetes(name: str, value: object) -> bool:
    """Whether this is the address of a Service, told to every container beside it."""
    if _SERVICE.fullmatch(name):
        return True
    told = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    return told is not None and _PORT.fullmatch(name) is not None


def slip_in(given: Mapping[str, str | None], known: Sequence[str]) -> str | None:
    """What is wrong with the first name that is nearly one of `known`; None: there is none."""
    for name in _strangers(given, known):
        if meant := _meant_by(name, known):
            return f"{name} is not a setting; did you mean {meant}?"
    return None


def ignored_in(given: Mapping[str, str | None], known: Sequence[str]) -> list[str]:
    """What to say of each other name with our prefix: it may be the application's own."""
    return [
        f"{name} is not a setting of ours, so it is ignored"
        for name in _strangers(given, known)
        if not _meant_by(name, known)
    ]


def _strangers(given: Mapping[str, str | None], known: Sequence[str]) -> list[str]:
    """What is empty is not set: a compose file passes names on that somebody else may need."""
    named = {name.upper(): value for name, value in given.items()}
    return [
        name
        for name in sorted(named)
        if name.startswith(PREFIX)
        and (named[name] or "").strip()
        and name not in known
        and not is_from_kubernetes(name, named[name])
    ]


def _meant_by(name: str, known: Sequence[str]) -> str | None:
    """Compared without the prefix, which would make any two names look alike."""
    bare = [setting.removeprefix(PREFIX) for setting in known]
    meant = did_you_mean(name.removeprefix(PREFIX), bare, likeness=NEAR)
    return f"{PREFIX}{meant}" if meant else None
