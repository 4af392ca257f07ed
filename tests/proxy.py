"""A TCP proxy that can hurt what goes through it."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator


class Proxy:
    """Passes bytes on, until it is told not to.

    Attributes:
        swallow_answer_to: Two texts: the answer to the first message that contains the second on a
            connection that has sent the first is lost, with its connection, after the server has
            got the message.
        swallowed: How many answers were lost.
        hold_answer_to: A text: the answer to the first message that contains it comes no sooner
            than `let_go` is set.
        held: Set when the server has got that message.
        passes: While it is not set, nothing goes through and no connection ends: a network that
            drops everything.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.swallow_answer_to: tuple[bytes, bytes] | None = None
        self.swallowed = 0
        self.hold_answer_to: bytes | None = None
        self.held, self.let_go = asyncio.Event(), asyncio.Event()
        self.passes = asyncio.Event()
        self.passes.set()
        self.port = 0
        self._accepted: list[tuple[asyncio.Future[None], asyncio.StreamWriter]] = []

    @contextlib.asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self
        for serving, writer in self._accepted:
            serving.cancel()
            await asyncio.wait([serving])
            writer.close()  # it may not have begun
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted.append((asyncio.ensure_future(self._serve(reader, writer)), writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        answers = asyncio.create_task(self._pass_on(back_reader, writer))
        marked = False
        try:
            while data := await reader.read(65536):
                await self.passes.wait()
                mark, message = self.swallow_answer_to or (None, b"")
                marked = marked or (mark is not None and mark in data)
                hit = mark is not None and marked and message in data
                hold = self.hold_answer_to is not None and self.hold_answer_to in data
                if hit or hold:
                    answers.cancel()
                    await asyncio.wait([answers])
                back_writer.write(data)
                await back_writer.drain()
                if hold:
                    self.hold_answer_to = None
                    self.held.set()
                    await self.let_go.wait()
                    answers = asyncio.create_task(self._pass_on(back_reader, writer))
                if hit:
                    self.swallow_answer_to = None
                    await back_reader.read(1)  # the server has answered: it is done
                    self.swallowed += 1
                    break
        except OSError:
            pass
        finally:
            answers.cancel()
            await asyncio.wait([answers])
            for one in (writer, back_writer):
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self.passes.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
