"""Counts what runs, at about a microsecond per task, so that counting does not slow what it counts.

The command writes an *order* (how many tasks) for each function that it measures; each worker
process that gets one of them writes a *tally* beside it: when each task began, how often it ended.
Both are small files that are mapped into memory: no server is asked and none is kept busy.

The tasks of an order wait at its gate until the command opens it. So all of them can be enqueued,
and every process be ready, before the first of them is timed.
"""

import asyncio
import mmap
import os
import struct
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ORDER = struct.Struct("<QQ")
"""Tasks; whether the gate is open."""

_HEAD = struct.Struct("<QQQQ32s")
"""Tasks that have ended; when the last did; CPU time at the first start and the last end; loop."""

_ENDED, _LAST_END, _CPU_BEGAN, _CPU_ENDED = range(4)

_NUMBER = 8
"""Bytes of a moment in a tally: nanoseconds of the machine's monotonic clock."""

MOST_RUNS = 255
"""A byte counts how often a task has run."""

LOOK_SECONDS = 0.005
"""How often a task that waits at the gate looks up."""


class Tally:
    """A worker process's side: what it has run for one order.

    Args:
        directory: Where the order is.
        name: The order's name.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._order = _map(directory / f"{name}.order")
        jobs, _ = _ORDER.unpack_from(self._order)
        fresh = directory / f"{name}.{os.getpid()}.new"
        with fresh.open("wb") as file:
            loop = type(asyncio.get_running_loop()).__module__.encode()
            file.write(_HEAD.pack(0, 0, 0, 0, loop))
            file.truncate(_HEAD.size + jobs * (_NUMBER + 1))
        whole = memoryview(_map(fresh))
        fresh.rename(directory / f"{name}.{os.getpid()}.tally")
        ends = _HEAD.size + jobs * _NUMBER
        self._head = whole[: 4 * _NUMBER].cast("Q")
        self._starts = whole[_HEAD.size : ends].cast("Q")
        self._runs = whole[ends:]

    async def pass_gate(self) -> None:
        """Return when the order's gate is open."""
        while not self._order[_NUMBER]:  # noqa: ASYNC110 - another process opens it
            await asyncio.sleep(LOOK_SECONDS)

    def begin(self, number: int) -> None:
        """The task with this number begins now."""
        self._starts[number] = time.monotonic_ns()
        if not self._head[_CPU_BEGAN]:
            self._head[_CPU_BEGAN] = time.process_time_ns()

    def end(self, number: int) -> None:
        """The task with this number ends now."""
        self._runs[number] = min(self._runs[number] + 1, MOST_RUNS)
        self._head[_CPU_ENDED] = time.process_time_ns()
        self._head[_LAST_END] = time.monotonic_ns()
        self._head[_ENDED] += 1


@dataclass(frozen=True, slots=True)
class Count:
    """What all processes together have run of an order.

    Attributes:
        runs: For each task how often it has run.
        starts: For each task when it began, in nanoseconds; 0: never.
        last_end: When the last one ended, in nanoseconds.
        cpu_seconds: CPU time of the processes between their first start and their last end.
        loops: Their event loops' kinds.
    """

    runs: Sequence[int]
    starts: Sequence[int]
    last_end: int
    cpu_seconds: float
    loops: frozenset[str]

    @property
    def missing(self) -> int:
        """How many have not run."""
        return sum(times == 0 for times in self.runs)

    @property
    def doubled(self) -> int:
        """How many have run more than once."""
        return sum(times > 1 for times in self.runs)

    @property
    def seconds(self) -> float:
        """From the first start to the last end."""
        first = min(filter(None, self.starts), default=self.last_end)
        return (self.last_end - first) / 1e9


class Order:
    """The command's side: how many tasks of one function are to run, and what has run.

    Args:
        directory: Where the workers look for it.
        name: Known to the task function.
        jobs: How many.
        gated: Whether the tasks wait for `open_gate`.
    """

    def __init__(self, directory: Path, name: str, jobs: int, *, gated: bool = True) -> None:
        self.name = name
        self.jobs = jobs
        self._directory = directory
        self._path = directory / f"{name}.order"
        self._path.write_bytes(_ORDER.pack(jobs, not gated))

    def open_gate(self) -> None:
        """Let the tasks run."""
        with self._path.open("r+b") as file:
            file.write(_ORDER.pack(self.jobs, True))

    @property
    def pids(self) -> list[int]:
        """The processes that have got a task of it."""
        return [int(path.suffixes[-2][1:]) for path in self._tallies()]

    @property
    def ended(self) -> int:
        """How many runs have ended."""
        total = 0
        for path in self._tallies():
            with path.open("rb") as file:
                total += _HEAD.unpack(file.read(_HEAD.size))[_ENDED]
        return total

    def count(self) -> Count:
        """Look at every task of every process."""
        runs, starts = [0] * self.jobs, [0] * self.jobs
        last_end, cpu, loops = 0, 0, set()
        for path in self._tallies():
            data = path.read_bytes()
            _, end, cpu_began, cpu_ended, loop = _HEAD.unpack_from(data)
            ends = _HEAD.size + self.jobs * _NUMBER
            runs = [a + b for a, b in zip(runs, data[ends:], strict=True)]
            began = array("Q", data[_HEAD.size : ends])
            starts = [min(a or b, b or a) for a, b in zip(starts, began, strict=True)]
            last_end = max(last_end, end)
            cpu += cpu_ended - cpu_began
            loops.add(loop.rstrip(b"\0").decode())
        return Count(runs, starts, last_end, cpu / 1e9, frozenset(loops))

    def _tallies(self) -> Iterator[Path]:
        return self._directory.glob(f"{self.name}.*.tally")


def _map(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)
