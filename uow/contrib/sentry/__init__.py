"""Sentry: what attempts fail by, their transactions, and schedules as monitors (extra ``sentry``).

``sentry_sdk.init(…, integrations=[UowIntegration()])``, where the application sets up Sentry, in
the API and in a task module. See ``docs/sentry.md``.
"""

from uow.contrib.sentry.integration import UowIntegration

__all__ = ["UowIntegration"]
