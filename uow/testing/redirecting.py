"""An `App` whose settings the code has made has others for the length of a test."""

import contextlib
from collections.abc import Iterator

from uow.app import AppParts
from uow.settings.environment import Settings


@contextlib.contextmanager
def redirected(app: AppParts, settings: Settings) -> Iterator[None]:
    """`app.api()`, `app.client()` and all the rest take `settings` while the block runs.

    One that reads its settings when something starts is left as it is: the environment tells it.
    """
    said = app.settings
    if not isinstance(said, Settings):
        yield
        return
    object.__setattr__(app, "settings", settings)  # it is frozen, for everybody else
    try:
        yield
    finally:
        object.__setattr__(app, "settings", said)
