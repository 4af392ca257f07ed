"""Which kind of CSV a file is: how it is encoded, and what separates its columns.

Excel alone saves half a dozen, by its language and by what was clicked. What is no CSV at all is
refused with a word on what it is.
"""

import codecs
import re
from collections.abc import Collection

from worker.errors import FileRefused

START_BYTES = 8
"""So much of a file tells its encoding."""

SEPARATORS = ",;\t"

_SAID = re.compile(r'"?sep=([^\w"\s]|\t)"?\s*', re.IGNORECASE)
"""A first line of Excel's that is no row."""

_OTHERS = {
    b"PK\x03\x04": "a ZIP archive, as workbooks of Excel (.xlsx) are",
    b"\xd0\xcf\x11\xe0": "an old workbook of Excel (.xls)",
    b"\x1f\x8b": "compressed (gzip)",
}

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encoding_of(start: bytes) -> str:
    """The encoding of a file that begins with `start`; UTF-8, if nothing speaks for UTF-16.

    Raises:
        FileRefused: It is no text.
    """
    for mark, what in _OTHERS.items():
        if start.startswith(mark):
            raise FileRefused(f'the file is {what}, and no CSV: save it as "CSV UTF-8"')
    for bom, encoding in _BOMS.items():
        if start.startswith(bom):
            return encoding
    # A header begins with ASCII, of which UTF-16 writes one half as NUL.
    match [*start[:2]]:
        case [0, high] if high:
            return "utf-16-be"
        case [low, 0] if low:
            return "utf-16-le"
    return "utf-8"


def said_separator(line: str) -> str | None:
    """What a line like ``sep=;`` says; None: it is no such line."""
    said = _SAID.fullmatch(line)
    return said[1] if said else None


def separator_of(header: str, columns: Collection[str]) -> str:
    """What separates the columns of `header`, so that `columns` are among them; else a comma."""
    for separator in SEPARATORS:
        names = {name.strip().strip('"').strip().lower() for name in header.split(separator)}
        if names.issuperset(columns):
            return separator
    return ","
