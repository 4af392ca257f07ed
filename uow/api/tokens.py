"""The tokens that let a caller in: those of the setting, and those of the file as it is now."""

import hmac
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import SecretStr

from uow.api import token_file
from uow.api.roles import Caller, Role
from uow.api.token_file import Signature, Token
from uow.errors import SettingsError

logger = logging.getLogger(__name__)


class KnownTokens:
    """Says whose a token is.

    The file is looked at with each question, which costs one `stat`: who is revoked is out at once.
    While it is broken or gone, what was last read from it holds, and the log says so once.

    Args:
        of_settings: Tokens that may do everything.
        file: Where further ones stand.

    Raises:
        SettingsError: The file cannot be read, or a line of it is broken.
    """

    def __init__(self, of_settings: Iterable[SecretStr], file: Path | None) -> None:
        self._of_settings = tuple(
            Token(token_file.OF_SETTINGS, Role.ADMIN, token_file.digest(_bytes_of(token)))
            for token in of_settings
        )
        self._file = file
        self._of_file: tuple[Token, ...] = ()
        self._seen: Signature | str | None = None
        if file is not None:
            self._of_file, self._seen = token_file.read_or_refuse(file)

    def find(self, shown: bytes) -> Caller | None:
        """Whose token this is; None: nobody's."""
        line = self.line_of(shown)
        return None if line is None else Caller(line.name, line.role)

    def line_of(self, shown: bytes) -> Token | None:
        """The line of this token; None: there is none."""
        # All are compared, in constant time: how long it takes says nothing about any token.
        shown_digest = token_file.digest(shown)
        found: Token | None = None
        for token in self._now():
            if hmac.compare_digest(shown_digest, token.sha256):
                found = token
        return found if shown else None

    def named(self, name: str) -> Sequence[Token]:
        """The lines of that name, as they are now: all tokens of the setting have one name."""
        return [token for token in self._now() if token.name == name]

    def _now(self) -> Sequence[Token]:
        if self._file is not None:
            self._look_again(self._file)
        return (*self._of_settings, *self._of_file)

    def _look_again(self, file: Path) -> None:
        try:
            state: Signature | str = Signature.of(file.stat())
        except OSError as error:
            state = error.strerror or type(error).__name__
        if state == self._seen:
            return
        self._seen = state
        if isinstance(state, str):
            self._keep(f"{file}: {state}")
        else:
            self._read_again(file)

    def _read_again(self, file: Path) -> None:
        try:
            self._of_file, self._seen = token_file.read(file)
        except SettingsError as error:
            self._keep(str(error))
        except OSError as error:
            self._keep(f"{file}: {error.strerror}")
        else:
            logger.info("%s was read again: tokens in it: %d", file, len(self._of_file))

    def _keep(self, reason: str) -> None:
        logger.error(
            "the file of tokens cannot be read (%s): the %d that were last read from it hold until "
            "it can", reason, len(self._of_file),
        )  # fmt: skip


def _bytes_of(token: SecretStr) -> bytes:
    return token.get_secret_value().encode()
