"""What a queue may be called; and several queues for one worker: names with weights."""

from collections.abc import Iterable

from uow.names import LONGEST_TEXT, is_name

_KEYS = ("worker:", "arq:job:", "arq:in-progress:", "arq:retry:", "arq:result:")
_ABORTS = "arq:abort"
_HEALTH = ":health-check"


def fault_in_name(name: str) -> str | None:
    """Why no queue may be called `name`; None: it may.

    A queue's name is its key in Redis, as arq has it. Keys of another type would be in its way.
    """
    if not 0 < len(name) <= LONGEST_TEXT:
        return f"a queue's name has 1 to {LONGEST_TEXT} characters"
    if not is_name(name):
        return f"{name[:80]!r} is no name for a queue: it has a control character"
    if name.startswith(_KEYS) or name == _ABORTS or name.endswith(_HEALTH):
        others = ", ".join(f"{prefix}*" for prefix in _KEYS)
        return (
            f"{name[:80]!r} is no name for a queue: {others}, {_ABORTS} and *{_HEALTH} are other "
            "keys of arq's and ours"
        )
    return None


def weights_of(queues: Iterable[str]) -> dict[str, float]:
    """Queues by name with their weights.

    Args:
        queues: Each as ``name`` or ``name=weight``; a weight is above 0, by default 1.

    Raises:
        ValueError: One has no name or one that no queue may have, or its weight is no number above
            0.
    """
    weights: dict[str, float] = {}
    for queue in queues:
        name, _, weight = queue.partition("=")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            weights[name] = 0.0
        if not name or not 0 < weights[name] < float("inf"):
            raise ValueError(f"{queue!r} is not a queue as name=weight with a weight above 0")
        if fault := fault_in_name(name):
            raise ValueError(fault)
    return weights
