"""Mail, over SMTP."""

from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

import aiosmtplib

from worker.clock import utcnow
from worker.errors import MailRefused
from worker.setting_parts import MailSettings

OPERATION_SECONDS = 10.0
"""How long each answer of the mail server may take."""

PERMANENT = 500
"""From here on an SMTP answer means: not this, not ever (RFC 5321, 4.2.1)."""


def compose(mail: MailSettings, *, key: str, to: str, subject: str, text: str) -> EmailMessage:
    """A message that is the same mail, however often it is sent.

    Args:
        mail: Has the sender.
        key: Makes the ``Message-ID``, by which mail programs show a repeated mail once.
        to: The recipient's address.
        subject: One line.
        text: The body.
    """
    message = EmailMessage()
    domain = parseaddr(mail.sender)[1].rpartition("@")[2]
    message["Message-ID"] = f"<{key}@{domain}>"
    message["Date"] = format_datetime(utcnow())
    message["From"] = mail.sender
    message["To"] = to
    message["Subject"] = subject
    message["Auto-Submitted"] = "auto-generated"  # no "out of office" comes back
    message.set_content(text)
    return message


async def send_mail(mail: MailSettings, message: EmailMessage) -> None:
    """Hand `message` to the mail server.

    Raises:
        MailRefused: The server says that it will never take it.
        aiosmtplib.SMTPException: It does not answer, cannot take it now, or does not want us: a
            wrong password is ours to correct, and then the mail can go.
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
    except aiosmtplib.SMTPDataError as error:
        _refuse_if_permanent(error)
        raise


def _refuse_if_permanent(answer: aiosmtplib.SMTPResponseException) -> None:
    if answer.code >= PERMANENT:
        raise MailRefused(f"the mail server answered {answer.code} {answer.message}") from answer
