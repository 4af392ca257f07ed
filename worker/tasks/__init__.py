"""The application's tasks: useful as they are, and examples of how to write your own.

| task | shows |
|---|---|
| ``users.create`` | a unit of work that queues another task in its own transaction |
| ``users.import_csv`` | hours of work in small idempotent transactions, with progress |
| ``users.send_welcome`` | something that cannot be rolled back, recorded once |
| ``users.export_data`` | a file that is there whole or not at all |
| ``users.deactivate_stale`` | upkeep in batches, for cron |
| ``maintenance.prune_tasks`` | the same for the library's own tables |
| ``webhooks.deliver`` | a request to somebody else's server, signed and kept out of our network |

Importing this package registers them; `worker.main` names it.
"""

from worker.tasks import maintenance, user_export, user_import, users, webhooks

__all__ = ["maintenance", "user_export", "user_import", "users", "webhooks"]
