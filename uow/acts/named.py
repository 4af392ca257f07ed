"""Acts by their names, as a bulk act and its row have them."""

from collections.abc import Mapping
from typing import Literal, get_args

from uow.acts.kinds import Act, CancelAct, DeleteAct, PriorityAct, RetryAct, RunNowAct
from uow.broker.redis import RedisClient
from uow.errors import InvalidOptions

ActName = Literal["cancel", "retry", "run-now", "delete", "priority"]


def act_of(name: str, options: Mapping[str, int], redis: RedisClient, retention: float) -> Act:
    """The act of a name, with its options.

    Raises:
        InvalidOptions: There is no such act, or it lacks an option, or has one too many.
    """
    acts: dict[str, Act] = {
        "cancel": CancelAct(retention),
        "retry": RetryAct(),
        "run-now": RunNowAct(),
        "delete": DeleteAct(redis),
    }
    if name == "priority":
        if "priority" not in options:
            raise InvalidOptions("which priority? 0 to 9; higher runs first")
        return PriorityAct(options["priority"])
    if name not in acts:
        raise InvalidOptions(f"there is no act {name[:80]!r}; there are {', '.join(NAMES)}")
    if options:
        raise InvalidOptions(f"{name}: {', '.join(options)} belongs to the act priority")
    return acts[name]


NAMES: tuple[str, ...] = get_args(ActName)
