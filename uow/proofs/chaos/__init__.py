"""``worker chaos``: thousands of tasks while everything around them is being killed.

Starts throwaway servers and a fleet of worker processes, enqueues tasks at a steady pace, and
meanwhile kills and freezes workers, kills Redis with all it knew, and crashes Postgres. Each task
writes effects into a table without any constraint, so that a loss and a repetition both show. At
the end a checker compares what was acknowledged to the producer with what was applied:

    acknowledged  is a subset of  applied  is a subset of  acknowledged + unknown

where unknown are tasks whose COMMIT was never answered. Each expected effect must be there exactly
once, every task must be settled as succeeded, Redis must hold nothing any more, and no worker may
have ended but by our hand.

What each file is:

- `plan.py`: the options, and the sequence of faults that follows from the seed.
- `tasks.py`, `baseline.py`: the work, for us and for stock arq without us.
- `system.py`: what is put under chaos: how to enqueue, what is left.
- `fleet.py`, `faults.py`: the worker processes, and what is done to them and to the servers.
- `producer.py`, `checker.py`: what was promised, and whether it was kept.
- `journal.py`: what happened when, for whoever has to find out why.
- `chaos_run.py`, `show.py`: all of it together, and what a person sees of it.
"""
