"""Looks up host names that others have chosen, in a few threads that nothing else needs.

A look-up cannot be interrupted, and whoever runs the name server of a name decides how long it
takes. In the event loop's own threads ten of them would hold up every other one, and the end of
the process.
"""

import asyncio
import queue
import socket
import threading
from concurrent.futures import Future

Addresses = list[str]

THREADS = 4

SECONDS = 5.0
"""For one look-up, waiting for a free thread included."""


class Resolver:
    """Threads that look names up, started when they are first needed.

    Args:
        threads: How many; so many look-ups go on at once.
        seconds: How long each may take.
    """

    def __init__(self, threads: int = THREADS, seconds: float = SECONDS) -> None:
        self._wanted = threads
        self._seconds = seconds
        self._threads: list[threading.Thread] = []
        self._asked: queue.SimpleQueue[tuple[Future[Addresses], str, int]] = queue.SimpleQueue()

    async def addresses_of(self, host: str, port: int) -> Addresses:
        """The addresses of `host`, in the order in which they should be tried.

        Raises:
            TimeoutError: There is no answer in time. A thread that waits for one is not free
                before it comes.
            OSError: The name has no address.
            UnicodeError: It is no name.
        """
        self._start_threads()
        found: Future[Addresses] = Future()
        self._asked.put((found, host, port))
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(found)
        except TimeoutError:
            raise TimeoutError(f"{host} was not looked up within {self._seconds:g} s") from None

    def _start_threads(self) -> None:
        # In a forked child those of its parent are not alive.
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        while len(self._threads) < self._wanted:
            # No executor: Python waits for an executor's threads before it ends.
            thread = threading.Thread(target=self._run, name="resolver", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self) -> None:
        while True:
            found, host, port = self._asked.get()
            if not found.set_running_or_notify_cancel():
                continue  # nobody waits any more
            try:
                found.set_result(_look_up(host, port))
            except Exception as error:
                found.set_exception(error)


def _look_up(host: str, port: int) -> Addresses:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


resolver = Resolver()
"""The process's own."""
