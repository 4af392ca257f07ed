"""Which environment variables are settings: a typo is found, not ignored."""

import difflib
import re
from collections.abc import Iterable, Sequence

PREFIX = "WORKER_"

# Kubernetes sets these in every container when a Service is called "worker".
_FROM_KUBERNETES = re.compile(r"WORKER_(SERVICE_(HOST|PORT)|PORT)(_.*)?$")


def fault_in(given: Iterable[str], known: Sequence[str]) -> str | None:
    """What is wrong with the first name of ours that is not `known`; None: there is none."""
    for name in map(str.upper, sorted(given)):
        if name.startswith(PREFIX) and name not in known and not _FROM_KUBERNETES.match(name):
            return f"{name} is not a setting; {_hint(name, known)}"
    return None


def _hint(name: str, known: Sequence[str]) -> str:
    """Compared without the prefix, which would make any two names look alike."""
    bare = [setting.removeprefix(PREFIX) for setting in known]
    near = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1)
    return f"did you mean {PREFIX}{near[0]}?" if near else f"known are {', '.join(known)}"
