"""How fast it goes: nothing here is needed for safety.

Safe is what `worker.execution` makes safe: the guarded start, the unit of work, the guarded commit
and the lease hold under the stock ``arq`` command, too. Delete this package and a task still runs
once or not at all; it only starts later, and fewer of them run in a second.

So what stands here may be as clever as a measurement asks for, under two rules. It decides nothing
about a task: it brings jobs to an attempt, and takes finished ones away. And whatever it keeps in
memory may be lost at any moment, because a SIGKILL between two of its lines is the case that the
rest of the house was built for.

One process uses one core. `supervisor` runs several of them and starts a crashed one again
(`child` is one such process, `restarts` decides when, `reload` restarts them while you edit). It is
no service manager: it watches its own children, and something has to watch it.

| what happens | what follows |
|---|---|
| a child is killed or crashes | its tasks are rolled back and taken over; another is started |
| the supervisor is told to stop | each child hears it once, and has its grace |
| the supervisor is killed | each child is told to stop by the kernel, or by its watcher |
| none of them can start | the supervisor gives up with exit code 1 |
"""
