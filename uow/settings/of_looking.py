"""The settings of every face that shows tasks: the HTTP API and the shell."""

from pydantic import Field
from pydantic_settings import BaseSettings

from uow.settings.types import Texts

REDACTED_KEYS = (
    "*password*", "*passwd*", "*passphrase*", "*secret*", "*token*", "*authorization*", "*api_key*",
    "*apikey*", "*private_key*", "*credential*", "*cookie*",
)  # fmt: skip
"""What is a secret in most services, by its name."""


class LookingSettings(BaseSettings):
    """The part of `Settings` that is for whoever looks at tasks."""

    redact: Texts = Field(
        REDACTED_KEYS,
        description="Keys of arguments, results and headers that are shown to nobody, as patterns "
        "separated by commas.",
    )
