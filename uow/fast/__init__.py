"""How fast it goes: nothing here is needed for safety.

Safe is what `uow.attempt` makes safe: the guarded start, the unit of work, the guarded commit
hold under the stock ``arq`` command, too. Delete this package and a task still runs once or not at
all; it only starts later, and fewer of them run in a second. So whatever stands here decides
nothing about a task: it brings jobs to an attempt and takes finished ones away, and what it keeps
in memory may be lost at any moment.

    worker        a start, a life and an end in the shape of `arq.Worker`
    custody       what is open in between: it claims, keeps and finishes, with what stands below
    claimer       what is due, as long as somebody is free
    leases        who holds what, kept from the heart's thread
    finisher      what has ended, said to Redis in batches
    slots         where jobs run; `intake` fills them
    serving       one run: it starts what was claimed, and knows when nothing is left
    upkeep        health, `arq.aborts` that stock clients ask for, `arq.ticks` of arq's cron jobs,
                  each once; `arq.times`: when they are due
    arq.jobs      one job as arq runs it; `arq.payload`: what it says; `arq.results`: what it leaves
    arq.settings_class  anybody's; `arq.kinds`: what each setting in it must be
    task_worker   the worker of tasks; `task_serving`: one run of it
    engine        what attempts see of it all
    batches       attempts with a row, started together; `grouped` and `group_commit`: completed
                  together
    slot          what becomes of a job when the work in its slot has ended
    rowless       attempts of rowless tasks

A mixed fleet is safe: the lease is arq's own in-progress key, and nobody starts a job whose lease
is there. A claimed job stands at the end of its lease in the queue, so that it does not lie in
front of what is due; only its holder moves it. What a stock worker has claimed is never moved.
"""
