"""Several queues for one worker: names with weights."""

from collections.abc import Iterable


def weights_of(queues: Iterable[str]) -> dict[str, float]:
    """Queues by name with their weights.

    Args:
        queues: Each as ``name`` or ``name=weight``; a weight is above 0, by default 1.

    Raises:
        ValueError: One has no name, or its weight is no number above 0.
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
    return weights
