"""Excel workbooks (XLSX) → one section per sheet, its used range as tables."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from alchemy.connectors.blocks import Block, Heading, Paragraph, Table, to_markdown, words
from alchemy.connectors.content import Content
from alchemy.connectors.fields import BadRecord, clean_line
from alchemy.connectors.ooxml import check_package, properties, reading

TABLE_ROWS = 50
"""A longer range becomes several tables with the same header, so that each can be read alone."""

_UNPACKED_RATIO = 8
_NO_VALUE = re.compile(rb"(?:</f>|<f[^>]*/>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>")


def read_xlsx(raw: bytes, max_bytes: int) -> Content:
    """The document of an XLSX file: what a reader would see, formulas by their last value.

    Raises:
        BadRecord: not an XLSX file, damaged, encrypted, a bomb, or with more cells than allowed.
    """
    check_package(raw, "xl/workbook.xml", _UNPACKED_RATIO * max_bytes)
    from openpyxl import load_workbook

    with reading("XLSX"):
        book = load_workbook(io.BytesIO(raw), read_only=True, data_only=True, keep_links=False)
        try:
            core = properties(book.properties)
            blocks: list[Block] = []
            budget = max_bytes
            for sheet in book.worksheets:
                rows, used = _rows(sheet, budget)
                budget -= used
                if rows:
                    blocks.append(Heading(2, words(clean_line(sheet.title))))
                    blocks += _tables(rows)
        finally:
            book.close()
        unknown = _formulas_without_value(raw)
    return Content(
        core.title,
        to_markdown(blocks),
        core.created_at,
        core.updated_at,
        {"formulas_without_value": unknown} if unknown else {},
    )


def _rows(sheet: Any, budget: int) -> tuple[list[list[str]], int]:
    """Rows with content, and their size in bytes and cells together.

    Raises:
        BadRecord: the size goes over the budget.
    """
    sheet.reset_dimensions()  # what the file says about its size may be wrong
    rows: list[list[str]] = []
    size = 0
    for row in sheet.iter_rows(values_only=True):
        cells = [_text(value) for value in row]
        size += 1 + len(cells) + sum(map(len, cells))
        if size > budget:
            raise BadRecord("it has more cells than fit cleaning.max_record_bytes")
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            rows.append(cells)
    return rows, size


def _tables(rows: Sequence[Sequence[str]]) -> Iterator[Block]:
    """Lines above the first row of two cells are captions; that row is the header."""
    start = next((n for n, row in enumerate(rows) if sum(map(bool, row)) > 1), None)
    for row in rows[:start]:
        yield Paragraph(words(next(filter(None, row))))
    if start is None:
        return
    width = max(len(row) for row in rows[start:])
    used = [at for at in range(width) if any(at < len(row) and row[at] for row in rows[start:])]
    table = [tuple(words(row[at] if at < len(row) else "") for at in used) for row in rows[start:]]
    header, body = table[0], table[1:]
    for at in range(0, max(len(body), 1), TABLE_ROWS):
        yield Table((header, *body[at : at + TABLE_ROWS]), header=True)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case datetime():
            whole = value.time() == time.min
            return value.date().isoformat() if whole else value.isoformat(" ", "seconds")
        case date():
            return value.isoformat()
        case time():
            return value.isoformat("seconds")
        case timedelta():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case _:
            return clean_line(str(value))


def _formulas_without_value(raw: bytes) -> int:
    """Formulas that no program has calculated yet: their cells are empty to us."""
    with zipfile.ZipFile(io.BytesIO(raw)) as package:
        return sum(
            len(_NO_VALUE.findall(package.read(part)))
            for part in package.namelist()
            if part.startswith("xl/worksheets/") and part.endswith(".xml")
        )
