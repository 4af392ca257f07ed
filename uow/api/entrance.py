"""How callers are let in, as the settings have it: programs by a token, browsers by a login."""

from dataclasses import dataclass

from uow.api.forms import FormTokens
from uow.api.logins import Logins
from uow.api.page_access import PageAccess
from uow.api.security import LoopbackOnly, Rule, TokenRequired
from uow.api.tokens import KnownTokens
from uow.settings.environment import Settings


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who is let in; ``app.state.entrance``.

    Attributes:
        rule: Says who calls.
        tokens: Looks at tokens that are shown, and slows wrong ones; None: there are no tokens, and
            this machine alone is let in.
        logins: Whoever has logged in with one; None likewise.
    """

    rule: Rule
    tokens: TokenRequired | None
    logins: Logins | None

    @classmethod
    def of(cls, settings: Settings) -> "Entrance":
        """As the settings have it.

        Raises:
            SettingsError: The file of tokens cannot be read.
        """
        forms = FormTokens(settings.api_secret)
        if not settings.needs_token:
            return cls(PageAccess(LoopbackOnly(), forms, None), None, None)
        known = KnownTokens(settings.api_tokens, settings.api_tokens_file)
        tokens, logins = TokenRequired(known), Logins(known, settings.api_secret)
        return cls(PageAccess(tokens, forms, logins), tokens, logins)

    def tell(self) -> None:
        """Say in the log what of this may surprise."""
        if self.logins is not None:
            self.logins.tell()
