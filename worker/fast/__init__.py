"""How fast it goes: our own engine under arq's protocol. Nothing here is needed for safety.

What must not go wrong is decided by rows and guards (`worker.execution`), the same under stock
arq. This package claims a batch of jobs with one call of Redis, starts their attempts with one
statement of Postgres, completes those that opened no session with one commit, and finishes them
with one call. Deleting it costs speed, and what only an engine of our own can give: a wake-up by
push, several queues, a start within a lease after a kill.

    worker.py       the loop, in the shape of `arq.Worker`
    claimer.py      what is due, as long as somebody is free
    leases.py       who holds what, kept from the heart's thread
    finisher.py     what has ended, said to Redis in batches
    arq_jobs.py     one job as arq runs it
    arq_payload.py  what it says
    arq_results.py  what it leaves
    upkeep.py       arq's health record, cron jobs and aborts
    ticks.py        its cron jobs, each tick once
    aborts.py       what stock clients want aborted
    task_worker.py  the worker that knows what a task is
    attempts.py     attempts with a row: started and completed together
    completions.py  the group commit
    plain.py        attempts without a row
    arq_settings.py anybody's settings class

A mixed fleet is safe: the lease is arq's own in-progress key, and nobody starts a job whose lease
is there. A claimed job stands at the end of its lease in the queue, so that it does not lie in
front of what is due; only its holder moves it. What a stock worker has claimed is never moved.
"""
