"""Sentry: what attempts fail by, their transactions, and schedules as monitors (extra ``sentry``).

``sentry_sdk.init(…, integrations=[UowIntegration()])``, where the application sets up Sentry, in
the API and in a task module. See ``docs/sentry.md``.
"""

try:
    from uow.contrib.sentry.integration import UowIntegration
except ModuleNotFoundError as error:
    raise ImportError(
        f"uow.contrib.sentry needs {error.name}: pip install 'uow-worker[sentry]'"
    ) from error

__all__ = ["UowIntegration"]
