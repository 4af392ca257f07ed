"""Everything about a user as a ZIP of JSON and CSV. Blocks; call it in a thread."""

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from pydantic_core import to_json

from worker.tasks.storage import nameless_file, written_atomically

Record = Mapping[str, Any]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula (OWASP, "CSV injection")."""


class Records:
    """Any number of records, as JSON and as CSV on disk: in memory are those just added.

    Args:
        folder: Where there is room for them.
    """

    def __init__(self, folder: Path) -> None:
        self._count = 0
        self._json, self._csv = nameless_file(folder), nameless_file(folder)

    def add(self, records: Sequence[Record]) -> None:
        """Write `records` behind those that are there."""
        self._csv.write(as_csv(records, header=not self._count).encode())
        for record in records:
            self._json.write(b",\n" if self._count else b"[\n")
            self._json.write(to_json(record, indent=2))
            self._count += 1

    def close(self) -> None:
        """Forget them."""
        self._json.close()
        self._csv.close()

    def write_into(self, archive: ZipFile, name: str) -> None:
        """Write them as ``name.json`` and ``name.csv``. Once: nothing can be added any more."""
        self._json.write(b"\n]" if self._count else b"[]")
        for suffix, file in (("json", self._json), ("csv", self._csv)):
            file.seek(0)
            with archive.open(f"{name}.{suffix}", "w", force_zip64=True) as entry:
                shutil.copyfileobj(file, entry)


def write_archive(target: Path, profile: Record, tasks: Records) -> None:
    """Write ``profile.json``, ``profile.csv``, ``tasks.json`` and ``tasks.csv`` into `target`."""
    with written_atomically(target) as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.writestr("profile.json", to_json(profile, indent=2))
        archive.writestr("profile.csv", as_csv([profile]))
        tasks.write_into(archive, "tasks")


def as_csv(records: Sequence[Record], *, header: bool = True) -> str:
    """A header and a line per record; no cell of it is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    if records and header:
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
