"""Tables of words without borders, told from prose set in columns by how their lines go on.

Lines whose segments stand in the same columns, with an empty strip between each two columns, are a
table or prose in columns. Prose goes on from line to line: most of its lines begin in the middle of
a sentence. The cells of a table do not, or its rows have more space between them than their lines.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from alchemy.connectors.pdf_lines import Line, Segment

_EDGE = 2.5
"""In points; what stands in one column begins within this distance."""
_ROW_GAP = 2.2
"""In ems; rows with more white space between them are not one table."""
_MARKER = re.compile(r"\(?\w{1,4}[.)]|[•●○◦▪▫■□‣⁃·►➢✓–—*-]|\(?[ivxlc]{1,5}[.)]")
_HAN = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_VALUE = re.compile(r"[\W\d]+")


@dataclass(frozen=True)
class Aligned:
    """Lines `start` to `end` stand in columns.

    Attributes:
        columns: the lines of each column, to be read one after the other.
        rows: of a table, the text of its cells, line by line; empty when the columns are prose.
        header: whether the first row names the columns.
        apart: whether there is more space above each row.
    """

    start: int
    end: int
    columns: tuple[tuple[Line, ...], ...]
    rows: tuple[tuple[str, ...], ...] = ()
    header: bool = False
    apart: bool = False


@dataclass
class _Column:
    x0: float
    x1: float

    def overlaps(self, segment: Segment) -> bool:
        return min(self.x1, segment.x1) - max(self.x0, segment.x0) > 0


def find_aligned(lines: Sequence[Line]) -> Iterator[Aligned]:
    """Where lines stand in columns, in order."""
    start = 0
    while start < len(lines):
        if len(lines[start].segments) < 2:
            start += 1
            continue
        end, columns = _region(lines, start)
        found = _aligned(lines[start:end], columns, start)
        if found:
            yield found
        start = end if found else start + 1


def _is_running(texts: Sequence[str], widths: Sequence[float]) -> bool:
    """Whether lines below each other are prose."""
    if len(texts) < 3 or sum(map(bool, map(_VALUE.fullmatch, texts))) > 0.1 * len(texts):
        return False
    if any(map(_HAN.search, texts)):  # no words and no small letters: prose fills its lines
        full = [width > 0.8 * max(widths) for width in widths]
        return sum(full) > 0.7 * len(full) and median(map(len, texts)) >= 8
    return goes_on(texts, 0.35) and sum(len(text.split()) for text in texts) >= 3 * len(texts)


def goes_on(texts: Sequence[str], share: float = 0.2) -> bool:
    """Whether more than this share of the lines begin in the middle of a sentence."""
    return sum(text[:1].islower() for text in texts[1:]) > share * (len(texts) - 1)


def _region(lines: Sequence[Line], start: int) -> tuple[int, list[_Column]]:
    """The end of the lines that fit into the same columns, and those."""
    columns: list[_Column] = []
    at = start
    for at in range(start, len(lines)):
        line = lines[at]
        if at > start:
            above = lines[at - 1]
            apart = line.top - above.bottom > _ROW_GAP * line.size
            if apart or abs(line.size - above.size) > 0.2 * line.size:
                return at, columns
        widened = _widened(columns, line)
        if widened is None:
            return at, columns
        columns = widened
    return at + 1, columns


def _widened(columns: Sequence[_Column], line: Line) -> list[_Column] | None:
    """The columns with the line's segments in them; None when one crosses from one to another."""
    found = [_Column(column.x0, column.x1) for column in columns]
    for segment in line.segments:
        over = [column for column in found if column.overlaps(segment)]
        if len(over) > 1:
            return None
        if over:
            over[0].x0, over[0].x1 = min(over[0].x0, segment.x0), max(over[0].x1, segment.x1)
        elif columns and len(line.segments) == 1:
            return None
        else:
            found.append(_Column(segment.x0, segment.x1))
    found.sort(key=lambda column: column.x0)
    gaps = (right.x0 - left.x1 for left, right in itertools.pairwise(found))
    return found if all(gap > 0.5 * line.size for gap in gaps) else None


def _aligned(lines: Sequence[Line], columns: Sequence[_Column], start: int) -> Aligned | None:
    full = [line for line in lines if len(line.segments) > 1]
    if len(full) < 3 or len(columns) < 2:
        return None
    # what follows below the last full line is the next paragraph
    lines = lines[: _last(lines, columns) + 1]
    cells = [_cells(line, columns) for line in lines]
    below = [[row[at] for row in cells if row[at]] for at in range(len(columns))]
    if not all(_stands(column, len(full)) for column in below):
        return None
    if any(all(_MARKER.fullmatch(_text(cell)) for cell in column) for column in below):
        return None  # a list
    spaced = _row_starts(lines)
    running = [
        _is_running([_text(c) for c in column], [c[-1].x1 - c[0].x0 for c in column])
        for column in below
    ]
    parts = tuple(tuple(Line.of(cell) for cell in column) for column in below)
    end = start + len(lines)
    if sum(running) > 1 and not spaced:
        return Aligned(start, end, parts)
    rows = _rows(cells, spaced)
    return Aligned(start, end, parts, rows, _is_header(rows, lines), bool(spaced))


def _last(lines: Sequence[Line], columns: Sequence[_Column]) -> int:
    last = max(at for at, line in enumerate(lines) if len(line.segments) > 1)
    # the end of the last row's cells, right of its label
    while last + 1 < len(lines) and not columns[0].overlaps(lines[last + 1].segments[0]):
        last += 1
    return last


def _cells(line: Line, columns: Sequence[_Column]) -> list[list[Segment]]:
    return [[s for s in line.segments if column.overlaps(s)] for column in columns]


def _text(cell: Sequence[Segment]) -> str:
    return " ".join(segment.text for segment in cell)


def _stands(column: Sequence[Sequence[Segment]], full: int) -> bool:
    """Whether a column has enough cells, and most of them begin, end or have their middle there."""
    if len(column) < max(2, 0.5 * full):
        return False
    for edge in (
        lambda c: c[0].x0,
        lambda c: c[-1].x1,
        lambda c: (c[0].x0 + c[-1].x1) / 2,
    ):
        places = [edge(cell) for cell in column]
        near = max(sum(abs(place - other) <= _EDGE for other in places) for place in places)
        if near >= 0.7 * len(places):
            return True
    return False


def _row_starts(lines: Sequence[Line]) -> frozenset[int]:
    """The lines above which there is more space, when rows are set apart so; else none."""
    steps = [below.bottom - above.bottom for above, below in itertools.pairwise(lines)]
    wide = frozenset(at for at, step in enumerate(steps, 1) if step > 1.25 * min(steps))
    # prose that has a gap there goes on right of it
    begun = [all(not s.text[:1].islower() for s in lines[at].segments) for at in wide]
    enough = 2 <= len(wide) < len(steps) and len(wide) >= 0.2 * len(steps)
    return wide if enough and sum(begun) >= 0.8 * len(begun) else frozenset()


def _rows(
    cells: Sequence[Sequence[Sequence[Segment]]], spaced: frozenset[int]
) -> tuple[tuple[str, ...], ...]:
    rows: list[tuple[str, ...]] = []
    for at, row in enumerate(cells):
        texts = tuple(_text(cell) for cell in row)
        continues = at not in spaced if spaced else not texts[0]
        if rows and continues:
            pairs = zip(rows[-1], texts, strict=True)
            rows[-1] = tuple(f"{above}\n{rest}".strip("\n") for above, rest in pairs)
        else:
            rows.append(texts)
    return tuple(rows)


def _is_header(rows: Sequence[Sequence[str]], lines: Sequence[Line]) -> bool:
    first = rows[0]
    if lines[0].bold and not all(line.bold for line in lines):
        return True
    if not all(first) or any(cell.endswith((":", ".", ",")) for cell in first):
        return False
    return all(len(cell.split()) <= 4 and not _VALUE.fullmatch(cell) for cell in first)
