"""A Postgres for each test that hurts it: a copy of one that has our tables already.

`initdb` and the migrations cost a second and more, the copy a tenth of that.
"""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from uow import Database
from uow.db import migrations
from uow.embedded import EmbeddedPostgres
from uow.embedded.home import Home


class CopiedPostgres(EmbeddedPostgres):
    """Begins with the data of `original`, and with its password.

    Args:
        original: The directory of a stopped server; see `prepared_cluster`.
        tcp, settings: As for every `EmbeddedPostgres`.
    """

    def __init__(self, original: Path, *, tcp: bool = False, settings: dict[str, str]) -> None:
        super().__init__(tcp=tcp, settings=settings)
        self._original = original

    def _prepare(self, home: Home, log: int) -> None:
        if not (home.path / "data").exists():
            # With their owners: Postgres refuses data that are another account's.
            names = [str(self._original / name) for name in ("data", "password")]
            subprocess.run(["cp", "-Rp", *names, str(home.path)], check=True)


@contextmanager
def prepared_cluster(more: Callable[[Database], Awaitable[None]]) -> Iterator[Path]:
    """The directory of a stopped server whose database `postgres` has our tables.

    Args:
        more: What it is to have beside them.
    """

    async def fill(server: EmbeddedPostgres) -> None:
        async with server as postgres, Database(postgres.url) as db:
            await migrations.upgrade(db)
            await more(db)

    place = Path(tempfile.mkdtemp(prefix="original-"))
    place.chmod(0o711)  # another account's server has to get to what is in it
    try:
        asyncio.run(fill(EmbeddedPostgres(place)))
        yield place / EmbeddedPostgres.name
    finally:
        shutil.rmtree(place)
