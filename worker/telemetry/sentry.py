"""What one attempt tells Sentry about itself is not in the report of another.

Each attempt is an asyncio task, and so has context variables of its own. But what Sentry keeps in
them is an object that all of these share, until it is forked.
"""

import contextlib
import logging
import sys
from collections.abc import Coroutine
from types import ModuleType
from typing import Any, TypeVar

logger = logging.getLogger("worker.sentry")

T = TypeVar("T")


def isolated(attempt: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """`attempt`, with scopes of its own if the process reports to Sentry; else as it is.

    User, tags and breadcrumbs that it sets end with it; of breadcrumbs it begins with none, for
    those of the process tell of others.
    """
    sentry = sys.modules.get("sentry_sdk")  # who uses it has imported it
    return attempt if sentry is None else _with_own_scopes(attempt, sentry)


async def _with_own_scopes(attempt: Coroutine[Any, Any, T], sentry: ModuleType) -> T:
    with contextlib.ExitStack() as scopes:
        try:
            scopes.enter_context(sentry.isolation_scope()).clear_breadcrumbs()
        except Exception:  # an SDK of another kind stops no task
            logger.warning("Sentry's scopes cannot be forked", exc_info=True)
        return await attempt
