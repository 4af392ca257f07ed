"""Reads a CSV file of users, a chunk at a time, whatever is in it.

A row that cannot be used becomes a `BadLine` and the next one is read. No more than a chunk is in
memory, whatever the file's size, and however long its lines are.

Everything here blocks; call it in a thread.
"""

import codecs
import csv
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TextIO

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from worker.errors import FileRefused
from worker.tasks.csv_kind import START_BYTES, encoding_of, said_separator, separator_of
from worker.tasks.storage import find_file
from worker.users import Email, UserKey, Username

CHUNK_ROWS = 500
"""Rows per chunk, and so per transaction: some 20 ms of Postgres's time."""

MAX_ROW_CHARACTERS = 65_536
"""A row that is longer is a quote left open, or no CSV."""

COLUMNS = ("username", "email")


_UNREADABLE = "worker.lone_surrogate"
"""What of a file cannot be decoded becomes a lone surrogate, which no column's type takes."""


def _to_lone_surrogate(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101 - these files are only read
    return "\udcff", error.end


codecs.register_error(_UNREADABLE, _to_lone_surrogate)


class BadLine(BaseModel):
    """A row that was not imported: the number of its first line, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class Chunk:
    """Some rows: the usable ones by the number of their first line, and the others."""

    users: dict[int, UserKey] = field(default_factory=dict)
    bad: list[BadLine] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.users) + len(self.bad)


class UserFile:
    """An open file of users, the header read.

    Raises:
        FileRefused: The first line does not name a column `username` and a column `email`.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._lines = _Lines(file)
        self._rows = csv.reader(self._lines, delimiter=self._find_separator())
        self._width, self._places = self._read_header()

    @classmethod
    def open(cls, folder: Path, path: str) -> Self:
        """Open the file at `path` in `folder`.

        Raises:
            FileRefused: As for the class; or the path leads out of the folder, or to no file, or
                the file is no text.
        """
        found = find_file(folder, path)
        with found.open("rb") as raw:
            encoding = encoding_of(raw.read(START_BYTES))
        file = found.open(encoding=encoding, errors=_UNREADABLE, newline="")
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    @property
    def percent(self) -> int:
        """How much of the file was read."""
        return min(100 * self._file.buffer.tell() // self._size, 100)

    def read_chunk(self) -> Chunk:
        """The next rows; none: the file has ended."""
        chunk = Chunk()
        while len(chunk) < CHUNK_ROWS and self._read_row(chunk):
            pass
        return chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _find_separator(self) -> str:
        first = self._file.readline(MAX_ROW_CHARACTERS)
        said = said_separator(first)
        if said is not None:
            self._lines.number += 1
            return said
        self._file.seek(0)
        return separator_of(first, COLUMNS)

    def _read_header(self) -> tuple[int, list[int]]:
        self._lines.begin_row()
        try:
            header = [name.strip().lower() for name in next(self._rows, [])]
        except csv.Error as error:
            raise FileRefused(f"the file's header cannot be read: {error}") from error
        for column in COLUMNS:
            if header.count(column) != 1:
                missing = "there twice" if column in header else "missing"
                raise FileRefused(
                    f"the file's first line must name the columns {' and '.join(COLUMNS)}, "
                    f"separated by commas, semicolons or tabs; {column} is {missing}"
                )
        return len(header), [header.index(column) for column in COLUMNS]

    def _read_row(self, chunk: Chunk) -> bool:
        """Put the next row into `chunk`; False: there is none."""
        line = self._lines.begin_row()
        try:
            row = next(self._rows)
            if row:  # an empty line is no row
                chunk.users[line] = self._user_in(row)
        except StopIteration:
            return False
        except (csv.Error, ValueError) as error:
            chunk.bad.append(BadLine(line=line, reason=self._reason(error, line)))
        return True

    def _user_in(self, row: list[str]) -> UserKey:
        if len(row) != self._width:
            raise ValueError(f"{len(row)} columns, but the header has {self._width}")
        username, email = (row[place] for place in self._places)
        user = _NewUser(username=username, email=email)
        return user.username, user.email

    def _reason(self, error: Exception, line: int) -> str:
        reason = str(error)
        if isinstance(error, ValidationError):
            faults = error.errors(include_input=False, include_url=False)
            reason = "; ".join(f"{fault['loc'][0]}: {self._said(fault)}" for fault in faults)
        if self._lines.number > line:
            reason += f" (the row goes on to line {self._lines.number}: is a quote left open?)"
        return reason

    def _said(self, fault: ErrorDetails) -> str:
        if fault["type"] == "string_unicode":
            encoding = self._file.encoding.upper().removesuffix("-SIG")
            return f'is not {encoding}: save the file as "CSV UTF-8"'
        return fault["msg"].removeprefix("Value error, ")


class _NewUser(BaseModel):
    username: Username
    email: Email


class _Lines:
    """A file's lines for the csv module, counted, and never more of them than a row may have."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._room = 0
        self.number = 0

    def begin_row(self) -> int:
        """The number of the line that the next row begins with."""
        self._room = MAX_ROW_CHARACTERS
        return self.number + 1

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._room + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self._room -= len(line)
        if self._room < 0:
            self._skip_rest_of(line)
            raise csv.Error(f"the row is longer than {MAX_ROW_CHARACTERS:,} characters")
        return line

    def _skip_rest_of(self, line: str) -> None:
        while line and not line.endswith(("\n", "\r")):
            line = self._file.readline(MAX_ROW_CHARACTERS)
