"""The application's settings: those of the library, and its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from pydantic import Field, SecretStr

from uow import Settings, SettingsError, SettingValues, TaskContext

Tls = Literal["none", "starttls", "tls"]


class WorkerAppSettingValues(SettingValues, total=False):
    """The arguments of `WorkerAppSettings`, for type checkers."""

    storage_dir: str | Path
    smtp_host: str | None
    smtp_port: int
    smtp_tls: Tls
    smtp_username: str | None
    smtp_password: str | SecretStr | None
    mail_from: str
    webhook_secret: str | SecretStr | None
    webhook_allow_private: bool
    stale_user_days: int
    stale_users_schedule: str | None
    prune_schedule: str | None
    schedule_timezone: str


@dataclass(frozen=True, slots=True)
class MailSettings:
    """How mail leaves the house."""

    host: str
    port: int
    sender: str
    tls: Tls
    username: str | None
    password: SecretStr | None


class WorkerAppSettings(Settings):
    """Every setting of the application; the prefix is the library's, ``WORKER_``."""

    storage_dir: Path = Field(
        Path("storage"), description="The one folder that file tasks read from and write to."
    )
    smtp_host: str | None = Field(None, description="Mail server; without one no mail is sent.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port.")
    smtp_tls: Tls = Field("starttls", description="How the connection to it is secured.")
    smtp_username: str | None = Field(None, description="Login at the mail server.")
    smtp_password: SecretStr | None = Field(None, description="Password at the mail server.")
    mail_from: str = Field("worker@localhost", description="Sender of the mail.")
    webhook_secret: SecretStr | None = Field(
        None, description="Key that signs webhook bodies (HMAC-SHA-256)."
    )
    webhook_allow_private: bool = Field(
        False, description="Let webhooks go to private, loopback and link-local addresses."
    )
    stale_user_days: int = Field(
        365, ge=1, description="Days without a visit after which a user counts as stale."
    )
    stale_users_schedule: str | None = Field(
        None, description="When `users.deactivate_stale` runs, as `0 3 * * *`; unset: never."
    )
    prune_schedule: str | None = Field(
        None, description="When `maintenance.prune_tasks` runs; the leader prunes anyway."
    )
    schedule_timezone: str = Field("UTC", description="The zone of those two schedules.")

    if TYPE_CHECKING:

        def __init__(self, **values: Unpack[WorkerAppSettingValues]) -> None: ...

    def require_mail(self) -> MailSettings:
        """The mail part.

        Raises:
            SettingsError: `WORKER_SMTP_HOST` is not set.
        """
        if self.smtp_host is None:
            raise SettingsError("WORKER_SMTP_HOST is not set, so no mail can be sent")
        return MailSettings(
            self.smtp_host, self.smtp_port, self.mail_from, self.smtp_tls,
            self.smtp_username, self.smtp_password,
        )  # fmt: skip


def settings_of(ctx: TaskContext) -> WorkerAppSettings:
    """The application's settings, in a task.

    Raises:
        SettingsError: The worker was started without the application.
    """
    settings = ctx["settings"]
    if not isinstance(settings, WorkerAppSettings):
        raise SettingsError(
            "this worker has no settings of the application: start it with "
            "`worker run worker.main:app`, or where WORKER_TASK_MODULES is not set"
        )
    return settings
