"""What one attempt tells Sentry about itself is not in the report of another.

Each attempt is an asyncio task, and so has context variables of its own. But what Sentry keeps in
them is an object that all of these share, until it is forked.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Coroutine
from types import ModuleType
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

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
        except Exception as error:  # an SDK of another kind stops no task
            _warn_once(error)
        return await attempt


_warned = threading.Event()


def _warn_once(error: Exception) -> None:
    """For it is so at every attempt of this process."""
    if not _warned.is_set():
        _warned.set()
        logger.warning(
            "Sentry's scopes cannot be forked: what one task tells it may be in another's report",
            exc_info=error,
        )
