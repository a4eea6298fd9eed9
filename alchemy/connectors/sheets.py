"""Excel workbooks (XLSX) → one section per sheet, its used range as tables."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from alchemy.connectors.blocks import Block, Heading, Paragraph, Table, to_markdown, words
from alchemy.connectors.content import Content
from alchemy.connectors.fields import BadRecord, clean_line
from alchemy.connectors.ooxml import check_package, properties, reading

TABLE_ROWS = 50
"""A longer range becomes several tables with the same header, so that each can be read alone."""

_UNPACKED_RATIO = 8
_MERGED = re.compile(
    rb"""<(?:\w+:)?mergeCell\s[^>]*?ref=["']([A-Z]{1,3}\d{1,7}:[A-Z]{1,3}\d{1,7})["']"""
)
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
                rows, used = _rows(sheet, budget, _merged(raw, sheet))
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


def _merged(raw: bytes, sheet: Any) -> dict[int, list[tuple[int, int]]]:
    """First row → first column and last row of each cell that reaches over several rows.

    Sheets that are read row by row do not offer it: it stands after the rows.
    """
    from openpyxl.utils import range_boundaries

    found: dict[int, list[tuple[int, int]]] = {}
    with zipfile.ZipFile(io.BytesIO(raw)) as package:
        part = package.read(sheet._worksheet_path.lstrip("/"))
    for match in _MERGED.finditer(part):
        column, first, _, last = range_boundaries(match[1].decode("ascii"))
        if column and first and last and last > first:
            found.setdefault(first, []).append((column - 1, last))
    return found


def _rows(
    sheet: Any, budget: int, merged: Mapping[int, Sequence[tuple[int, int]]]
) -> tuple[list[list[str]], int]:
    """Rows with content, and their size in bytes and cells together.

    A cell that reaches over several rows belongs to each of them, so that a row can be read alone.

    Raises:
        BadRecord: the size goes over the budget.
    """
    sheet.reset_dimensions()  # what the file says about its size may be wrong
    rows: list[list[str]] = []
    size = 0
    reaching: dict[int, tuple[str, int]] = {}
    for number, row in enumerate(sheet.iter_rows(), 1):
        cells = [_shown(cell) for cell in row]
        if any(cells):
            for column, (text, last) in reaching.items():
                if number <= last and column < len(cells):
                    cells[column] = cells[column] or text
        for column, last in merged.get(number, ()):
            if column < len(cells):
                reaching[column] = (cells[column], last)
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


def _shown(cell: Any) -> str:
    value = cell.value
    if type(value) in (int, float) and "%" in (cell.number_format or ""):
        return f"{round(100 * value, 10):.12g}%"
    return _text(value)


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
