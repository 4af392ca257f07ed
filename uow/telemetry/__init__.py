"""What is said about the work while it goes on.

`JsonLines`, `TaskFields` and `add_task_fields` are for applications that configure a log of their
own: see ``docs/telemetry.md``.
"""

from uow.telemetry.json_lines import JsonLines
from uow.telemetry.task_fields import TaskFields, add_task_fields

__all__ = ["JsonLines", "TaskFields", "add_task_fields"]
