"""The settings of the HTTP API: who may call it, and through which proxies."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from uow.settings.types import Networks, RootPath, Secret, Tokens


class ApiSettings(BaseSettings):
    """The part of `Settings` that `worker api` alone reads."""

    api_tokens: Tokens = Field(
        (),
        description="Tokens of the HTTP API, of 16 characters or more, separated by commas; "
        "they may do everything.",
    )
    api_tokens_file: Path | None = Field(
        None,
        description="File of further tokens, with a name and a role each, as `worker tokens` "
        "writes it. Neither this nor `WORKER_API_TOKENS`: loopback only.",
    )
    api_secret: Secret = Field(
        None,
        description="Key of 32 characters or more, the same for every process of the HTTP API, "
        "that signs what browsers are given: logins on the pages, and links to events. Unset: "
        "logins end with their process.",
    )
    api_root_path: RootPath = Field(
        "",
        description="Path under which a proxy serves the HTTP API, as `/worker`, whether or not it "
        "takes it off.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Addresses or networks of the proxies in front of the HTTP API, separated by "
        "commas: what they say of the client's address holds.",
    )

    @property
    def needs_token(self) -> bool:
        """Whether a caller of the API has to show a token; if not, it is this machine's alone."""
        return bool(self.api_tokens) or self.api_tokens_file is not None
