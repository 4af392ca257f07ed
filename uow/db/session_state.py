"""What a session of Postgres keeps from one transaction to the next, and how it forgets it.

Whoever has a connection may set a role, a `search_path`, a time limit, take an advisory lock.
Whether somebody has, nobody can tell cheaply: a function or a trigger can do it as well as a
statement. To forget it all is cheaper than any question: some 15 µs of Postgres, and no round trip
where it goes with a commit of ours.
"""

AS_OURSELVES = (
    "SET CONSTRAINTS ALL IMMEDIATE;"  # the user's deferred triggers, as who the user has become
    "SET LOCAL SESSION AUTHORIZATION DEFAULT;SET LOCAL role TO DEFAULT;"
    "SET LOCAL search_path TO DEFAULT;"  # or somebody's functions and operators would run as us
    "SET LOCAL statement_timeout = 0;SET LOCAL lock_timeout = 0;"
)
"""Before a statement of ours in a transaction of the user's, in one message with it and its COMMIT.

It is LOCAL because behind a proxy that pools transactions the session is everybody's. Nothing of
the transaction runs after it but what is ours.
"""

AS_NEW = (
    "RESET ALL;"  # first: what follows has no time limit then
    "RESET SESSION AUTHORIZATION;RESET ROLE;"
    "SELECT pg_catalog.pg_advisory_unlock_all();"
    "CLOSE ALL;UNLISTEN *;DISCARD TEMP;"
)
"""Makes a session what it was when it was opened. Prepared statements stay, which DISCARD ALL would
drop, and the values that sequences have handed out."""
