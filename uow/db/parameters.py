"""The types of what statements are given, by name: one name means one thing in all of them."""

from typing import Any

from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.types import Boolean, Double, Integer, Text, TypeEngine, Uuid

_MOMENT = TIMESTAMP(timezone=True)

TYPES: dict[str, TypeEngine[Any]] = {
    **dict.fromkeys(("app", "expires", "setback"), Text()),
    **dict.fromkeys(("after", "id"), Uuid()),
    **dict.fromkeys(("attempt", "limit", "priority"), Integer()),
    **dict.fromkeys(("calm", "delay", "retention", "seconds", "uptime"), Double()),
    **dict.fromkeys(("is_stray", "leaving", "take_over"), Boolean()),
    **dict.fromkeys(("next", "now", "run_at", "settled_before"), _MOMENT),
    **dict.fromkeys(("ids", "running"), ARRAY(Uuid())),
    **dict.fromkeys(("nexts", "run_ats", "ticks", "untils"), ARRAY(_MOMENT)),
    **dict.fromkeys(
        ("apps", "arguments", "definitions", "fates", "keys", "marks", "names", "processes",
         "queues", "results", "states", "tasks", "versions"),
        ARRAY(Text()),
    ),
    "priorities": ARRAY(Integer()),
    "retentions": ARRAY(Double()),
}  # fmt: skip
