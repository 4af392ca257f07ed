"""A process of the operating system: its heart, its end, its children, who keeps it running.

| what happens | what follows |
|---|---|
| a process is killed or crashes | its tasks are taken over; a supervisor starts another |
| the supervisor is told to stop | each child hears it once, and has its grace |
| the supervisor is killed | each child is told to stop by the kernel, or by its watcher |
| none of them can start | the supervisor gives up with exit code 1 |
"""
