"""Mail, over SMTP."""

from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

import aiosmtplib
import idna

from uow import SettingsError
from worker.errors import MailRefused
from worker.settings import MailSettings

OPERATION_SECONDS = 10.0
"""How long each answer of the mail server may take."""

PERMANENT = 500
"""From here on an SMTP answer means: not this, not ever (RFC 5321, 4.2.1)."""

LOGIN_NEEDED = 530
"""But this one, like the refusal of a password, is not about the mail (RFC 4954, 6)."""

_ABOUT_THE_MAIL = (
    aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError,
)  # fmt: skip
"""The other answers, to a greeting, HELO, STARTTLS or a login, are about us."""


def compose(mail: MailSettings, *, key: str, to: str, subject: str, text: str) -> EmailMessage:
    """A message that is the same mail, however often it is sent.

    Args:
        mail: Has the sender.
        key: Makes the ``Message-ID``, by which mail programs show a repeated mail once.
        to: The recipient's address.
        subject: One line.
        text: The body.

    Raises:
        MailRefused: The domain of the address can be none.
        SettingsError: That of the sender can be none.
    """
    sender = _sender_of(mail)
    message = EmailMessage()
    message["Message-ID"] = f"<{key}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Date"] = format_datetime(datetime.now(UTC))
    message["From"] = sender
    message["To"] = _deliverable(to)
    message["Subject"] = subject
    message["Auto-Submitted"] = "auto-generated"  # no "out of office" comes back
    message.set_content(text)
    return message


async def send_mail(mail: MailSettings, message: EmailMessage) -> None:
    """Hand `message` to the mail server.

    Raises:
        MailRefused: The server says that it will never take it, or cannot take such an address.
        aiosmtplib.SMTPException: It does not answer, cannot take it now, or does not want us: a
            wrong password or an address that it does not like is ours to correct, and then the mail
            can go.
    """
    try:
        await aiosmtplib.send(
            message,
            hostname=mail.host,
            port=mail.port,
            use_tls=mail.tls == "tls",
            start_tls=mail.tls == "starttls",
            username=mail.username,
            password=mail.password.get_secret_value() if mail.password else None,
            timeout=OPERATION_SECONDS,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        _refuse_if_permanent(error.recipients[0])
        raise
    except _ABOUT_THE_MAIL as error:
        _refuse_if_permanent(error)
        raise
    except aiosmtplib.SMTPNotSupported as error:
        raise MailRefused(
            "the mail server takes ASCII before the @ of an address alone (it has no SMTPUTF8)"
        ) from error


def _refuse_if_permanent(answer: aiosmtplib.SMTPResponseException) -> None:
    if answer.code >= PERMANENT and answer.code != LOGIN_NEEDED:
        raise MailRefused(f"the mail server answered {answer.code} {answer.message}") from answer


def _sender_of(mail: MailSettings) -> str:
    address = parseaddr(mail.sender)[1]
    try:
        return mail.sender.replace(address, _deliverable(address))
    except MailRefused as error:
        raise SettingsError(f"WORKER_MAIL_FROM: {error}") from error


def _deliverable(address: str) -> str:
    """`address` with its domain as name servers know it ("xn--…"), which any mail server takes."""
    name, at, domain = address.rpartition("@")
    if domain.isascii():
        return address
    try:
        return name + at + idna.encode(domain, uts46=True).decode()
    except idna.IDNAError as error:
        raise MailRefused(f"{domain} is not a domain: {error}") from error
