"""``worker bench``: what this machine and these servers can do, so that a deployment can be sized.

Starts throwaway servers (Postgres with fsync, as in production) or takes the configured ones,
starts worker processes as a user would, and measures how many tasks per second can be enqueued and
run (nothing at all; nothing, but with a row; a few statements in a session), what they cost, and
how soon an idle worker starts one. Every task is counted: the figure of a run in which one was
lost or has run twice is worth nothing, and the exit code says so.

What each file is:

- `plan.py`: the options.
- `site.py`: the servers, and the corner of them that is ours.
- `tasks.py`, `tally.py`: the work, and how it is counted without being slowed.
- `workers.py`: who does it.
- `measure.py`, `runs.py`, `costs.py`, `effects.py`: the measurements, and what they have found.
- `result.py`: the figures and the verdict.
- `facts.py`: what figures must not be read without.
- `bench_run.py`, `show.py`: all of it together, and what a person or a program sees of it.
"""
