"""The outside world on loopback: a mail server, a web server, and their certificate."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


def make_certificate(folder: Path) -> Path:
    """A PEM file with a key and a certificate that is its own authority, for "localhost"."""
    path = folder / "localhost.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", path, "-out", folder / "certificate"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + (folder / "certificate").read_bytes())
    return path


def tls_with(certificate: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@dataclass
class MailServer:
    """Takes mail; `sender`, `rcpt`, `data` are answers to give first, `login` one to every login.

    Attributes:
        envelopes: The sender and the recipients of each mail, as the server was told them.
        on_data: Called while the client waits for the answer to its message.
    """

    port: int = 0
    login: list[str] = field(default_factory=list)
    sender: list[str] = field(default_factory=list)
    rcpt: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, ...]] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    secure: list[bool] = field(default_factory=list)
    on_data: Callable[[], Awaitable[None]] | None = None

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.sender:
            return self.sender.pop(0)
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.rcpt:
            return self.rcpt.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        content, sender = envelope.content, envelope.mail_from
        assert isinstance(content, bytes)
        assert sender is not None
        assert server.transport is not None
        self.mails.append(message_from_bytes(content, policy=policy.default))
        self.envelopes.append((sender, *envelope.rcpt_tos))
        self.secure.append(server.transport.get_extra_info("sslcontext") is not None)
        if self.on_data is not None:
            await self.on_data()
        return self.data.pop(0) if self.data else "250 OK"

    def log_in(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        mechanism: str,
        login: LoginPassword,
    ) -> AuthResult:
        self.logins.append((login.login, login.password))
        if self.login:  # for every mechanism that the client tries
            return AuthResult(success=False, handled=False, message=self.login[0])
        return AuthResult(success=True)


@asynccontextmanager
async def mail_server(
    *, starttls: Path | None = None, tls: Path | None = None, utf8: bool = False
) -> AsyncIterator[MailServer]:
    handler = MailServer()

    def protocol() -> SMTP:
        return SMTP(
            handler,
            hostname="localhost",
            tls_context=tls_with(starttls),
            authenticator=handler.log_in,
            auth_require_tls=False,
            enable_SMTPUTF8=utf8,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls_with(tls))
    handler.port = server.sockets[0].getsockname()[1]
    async with server:
        yield handler


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebServer:
    """Takes requests; `answers` are status lines (and headers) to give first, oldest first."""

    port: int = 0
    answers: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    silent: bool = False
    endless: bool = False

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.received.append(await self._read(reader))
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Received:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in headers.items()}
        body = await reader.readexactly(int(headers["content-length"]))
        return Received(head[0].split(" ")[1], headers, body)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            await reader.read()  # until the client has gone
            return
        answer = self.answers.pop(0) if self.answers else "204 No Content"
        length = "" if self.endless or answer.startswith("204") else "Content-Length: 0\r\n"
        writer.write(f"HTTP/1.1 {answer}\r\n{length}\r\n".encode())
        while self.endless:
            writer.write(b"x" * 65536)
            await writer.drain()
        await writer.drain()


@asynccontextmanager
async def web_server(
    *, tls: Path | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[WebServer]:
    handler = WebServer()
    server: Any = await asyncio.start_server(handler.handle, "127.0.0.1", 0, ssl=tls_with(tls))
    handler.port = server.sockets[0].getsockname()[1]
    async with server:
        yield handler
