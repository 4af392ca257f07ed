"""What a task and an attempt mean, the same under either worker.

A task's way: `enqueue` writes the row in the caller's transaction; `pusher` pushes the job after
the commit; the worker claims it; `attempt` decodes it, starts the row under a guard, gives the
function its `unit_of_work`, and commits effects, result and completion together.
"""
