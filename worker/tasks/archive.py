"""Everything about a user as a ZIP of JSON and CSV. Blocks; call it in a thread."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from pydantic_core import to_json

from worker.tasks.storage import written_atomically

Record = Mapping[str, Any]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula (OWASP, "CSV injection")."""


def write_archive(target: Path, profile: Record, tasks: Sequence[Record]) -> None:
    """Write ``profile.json``, ``profile.csv``, ``tasks.json`` and ``tasks.csv`` into `target`."""
    with written_atomically(target) as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.writestr("profile.json", to_json(profile, indent=2))
        archive.writestr("profile.csv", as_csv([profile]))
        archive.writestr("tasks.json", to_json(tasks, indent=2))
        archive.writestr("tasks.csv", as_csv(tasks))


def as_csv(records: Sequence[Record]) -> str:
    """A header and a line per record; no cell of it is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    if records:
        writer.writerow(records[0])
    writer.writerows([_cell(value) for value in record.values()] for record in records)
    return text.getvalue()


def _cell(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    cell = to_json(value).decode() if isinstance(value, dict | list) else str(value)
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
