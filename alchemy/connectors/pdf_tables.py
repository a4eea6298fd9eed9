"""Tables without cell borders, as financial reports set them: found by their columns of values.

A line with a value (number, percentage, dash, date) right of a wide gap is a row. Rows whose values
stand below each other are a table; lines between them are labels, lines above them its header. A
header over several columns is repeated in each, so that every value can be read on its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from alchemy.connectors.blocks import Table, words
from alchemy.connectors.pdf_lines import Line, Rule, Segment

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*\.?"
_DATE = re.compile(
    rf"(?:as\s+of\s+)?(?:{_MONTH}\s*\d{{1,2}}\s*,?(?:\s*(?:19|20)\d\d)?|{_MONTH}\s*(?:19|20)\d\d"
    rf"|(?:FY\s*|Q[1-4]\s*)?(?:19|20)\d\d|\d{{4}}-\d\d-\d\d)",
    re.I,
)
_NOTE = r"(?:\s*\(\w{1,2}\)|[*†‡])?"
_AMOUNT = re.compile(
    r"(?:(?:US|C|A)?[$€£¥])?\s*\(?\s*[-+−–—]?\s*(?:[$€£¥]\s*)?\(?\.?\d[\d,.’']*\s*\)?"
    rf"\s*(?:%|x|bps|pts?\.?|ppts?|[BMK]n?|years?|months?|days?)?\s*\)?{_NOTE}"
    rf"|(?:(?:US)?[$€£¥])?\s*(?:[—–-]{{1,3}}|N/?[AM]|NM)\s*%?{_NOTE}"
)
_SIGN = re.compile(r"([$€£¥])\s+(?=[\d(—.])")
_BETWEEN = 4
"""Lines of labels alone between two rows with values."""
_HEADER_LINES = 5


@dataclass(frozen=True)
class _Column:
    x0: float
    x1: float

    def overlap(self, segment: Segment) -> float:
        return min(self.x1, segment.x1) - max(self.x0, segment.x0)


def is_value(text: str) -> bool:
    """A number, date, percentage, amount or the dash that stands for one."""
    return bool(_AMOUNT.fullmatch(text) or _DATE.fullmatch(text))


def find_tables(lines: Sequence[Line], rules: Sequence[Rule]) -> list[tuple[int, int, Table]]:
    """Ranges of lines that are a table, in order, with the table."""
    found: list[tuple[int, int, Table]] = []
    done = 0
    for group in _groups(lines):
        columns = _columns([lines[at] for at in group])
        if len(group) < 2 or not columns:
            continue
        header = _header(lines, group[0], columns, done)
        start, end = header.start, _end(lines, group[-1], columns)
        table = _table(lines[start:end], len(header), columns, rules)
        if table:
            found.append((start, end, table))
            done = end
    return found


def _is_row(line: Line) -> bool:
    return any(is_value(segment.text) for segment in line.segments[1:])


def _groups(lines: Sequence[Line]) -> list[list[int]]:
    groups: list[list[int]] = []
    for at, line in enumerate(lines):
        if not _is_row(line):
            continue
        if groups and _continues(lines, groups[-1], at):
            groups[-1].append(at)
        else:
            groups.append([at])
    return groups


def _continues(lines: Sequence[Line], group: Sequence[int], at: int) -> bool:
    last, row = lines[group[-1]], lines[at]
    between = lines[group[-1] + 1 : at]
    left = min(line.segments[1].x0 for line in (last, row))
    if len(between) > _BETWEEN or any(_is_outside(line, left) for line in between):
        return False
    chain = (last, *between, row)
    if any(below.top - above.bottom > 2.5 * row.size for above, below in itertools.pairwise(chain)):
        return False
    columns = _columns([lines[n] for n in group[-12:]])
    values = [segment for segment in row.segments[1:] if is_value(segment.text)]
    placed = [s for s in values if any(column.overlap(s) > -row.size for column in columns)]
    return 2 * len(placed) >= len(values)


def _is_outside(line: Line, left: float) -> bool:
    """Whether it is neither a label nor stands over values, which begin at `left`."""
    crosses = line.x0 < left - 3 * line.size and line.x1 > left + line.size
    return len(line.segments) == 1 and crosses


def _columns(rows: Sequence[Line]) -> list[_Column]:
    """Where values stand below each other; a row that has no value of its own adds no column."""
    columns: list[_Column] = []
    values = [s for row in rows for s in row.segments[1:] if _AMOUNT.fullmatch(s.text)]
    values = values or [s for row in rows for s in row.segments[1:] if is_value(s.text)]
    for segment in sorted(values, key=lambda s: s.x0):
        if columns and columns[-1].x1 >= segment.x0:
            columns[-1] = _Column(columns[-1].x0, max(columns[-1].x1, segment.x1))
        else:
            columns.append(_Column(segment.x0, segment.x1))
    # text in a column of its own; a value's note would be none
    texts = [s for row in rows for s in row.segments[1:] if not is_value(s.text)]
    for segment in texts:
        near = [c for c in columns if c.overlap(segment) > -2]
        if not near and segment.x0 > min(row.x0 for row in rows) + 1:
            columns.append(_Column(segment.x0, segment.x1))
            columns.sort(key=lambda column: column.x0)
    return columns


def _pitch(columns: Sequence[_Column], size: float) -> float:
    """Least distance between the right ends of two columns."""
    ends = sorted(column.x1 for column in columns)
    steps = [b - a for a, b in itertools.pairwise(ends)]
    return max(min(steps, default=8 * size), 2 * size)


def _header(lines: Sequence[Line], first: int, columns: Sequence[_Column], done: int) -> range:
    """The lines above the first row that stand over its values.

    Labels may stand between them and the row: `Assets`, `Current assets:`.
    """
    center = (min(line.x0 for line in lines) + max(line.x1 for line in lines)) / 2
    start = end = at = first
    while at > done and first - at < _HEADER_LINES:
        above, below = lines[at - 1], lines[at]
        if below.top - above.bottom > 1.5 * below.size:
            break
        if _stands_over(above, columns, center):
            end = at if start == first else end
            start = at - 1
        elif above.x1 > columns[0].x0 or len(above.segments) > 1:
            break
        at -= 1
    return range(start, end)


def _stands_over(line: Line, columns: Sequence[_Column], center: float) -> bool:
    left = columns[0].x0 - _pitch(columns, line.size) / 2
    heads = line.segments if line.x0 >= left else line.segments[1:]
    if not heads or any(head.x0 < left for head in heads) or heads[-1].x1 <= columns[0].x0:
        return False
    # one text in the middle of the page is the table's caption
    return len(line.segments) > 1 or abs((line.x0 + line.x1) / 2 - center) > line.size


def _end(lines: Sequence[Line], last: int, columns: Sequence[_Column]) -> int:
    """After the last row: the rest of its label, when that goes on below the values."""
    end = last + 1
    if end < len(lines):
        line, row = lines[end], lines[last]
        tight = line.top - row.bottom < 0.35 * row.size and abs(line.size - row.size) < 0.3
        if tight and line.x1 < columns[0].x0 and line.text[:1].islower() and not _is_row(line):
            end += 1
    return end


def _table(
    lines: Sequence[Line], heads: int, columns: Sequence[_Column], rules: Sequence[Rule]
) -> Table | None:
    while heads < len(lines) and _is_header(lines[heads], columns):
        heads += 1
    if heads == len(lines):
        heads = 1
    header = _header_cells(lines[:heads], columns, rules)
    rows: list[list[str]] = []
    tight = _tight(lines[heads:])
    above: Line | None = None
    for line in lines[heads:]:
        row = _row(line, columns)
        close = above is not None and line.bottom - above.bottom
        above = line
        if rows and close and _one_row(rows[-1], row, close < tight):
            rows[-1] = [_glued(*pair) for pair in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
    if not any(any(row[1:]) for row in rows):
        return None
    whole = [header, *rows] if any(header) else rows
    keep = [any(row[at] for row in whole) for at in range(len(columns) + 1)]
    cells = [[cell for cell, used in zip(row, keep, strict=True) if used] for row in whole]
    return Table(tuple(tuple(words(cell) for cell in row) for row in cells), header=any(header))


def _tight(lines: Sequence[Line]) -> float:
    """A distance between lines that is clearly less than the one between two rows."""
    rows = [line for line in lines if _is_row(line)]
    steps = [b.bottom - a.bottom for a, b in itertools.pairwise(lines) if b in rows]
    return 0.87 * median(steps) if steps else 0.0


def _one_row(above: Sequence[str], below: Sequence[str], tight: bool) -> bool:
    """Whether two lines are one row: a label that was broken, with its values."""
    goes_on = below[0][:1].islower()
    if any(above[1:]):
        return tight and goes_on and not any(below[1:])
    return bool(above[0]) and not above[0].endswith(":") and (tight or goes_on or not below[0])


def _glued(first: str, rest: str) -> str:
    hyphen = re.search(r"\w-$", first) and rest[:1].islower()
    return first + rest if hyphen else f"{first} {rest}".strip()


def _is_header(line: Line, columns: Sequence[_Column]) -> bool:
    cells = _row(line, columns)
    values = [cell for cell in cells[1:] if cell]
    if not values:
        return False
    if all(_DATE.fullmatch(value) or not is_value(value) for value in values):
        return not cells[0] or any(_DATE.fullmatch(v) for v in values) or len(values) > 1
    return False


def _row(line: Line, columns: Sequence[_Column]) -> list[str]:
    cells = [""] * (len(columns) + 1)
    for number, segment in enumerate(line.segments):
        overlaps = [column.overlap(segment) for column in columns]
        best = max(range(len(columns)), key=overlaps.__getitem__)
        if overlaps[best] > 0:
            # a label that reaches into the first column is still a label
            label = not number and not is_value(segment.text) and segment.x0 < columns[0].x0 - 1
            place = 0 if label else best + 1
        elif segment.x1 <= columns[0].x0:
            place = 0
        else:
            place = best + 1
        text = _SIGN.sub(r"\1", segment.text) if place else segment.text
        cells[place] = f"{cells[place]} {text}".strip()
    return cells


def _header_cells(
    lines: Sequence[Line], columns: Sequence[_Column], rules: Sequence[Rule]
) -> list[str]:
    cells = [""] * (len(columns) + 1)
    for line in lines:
        reach = _pitch(columns, line.size)
        heads = [_spanning(s, line, rules) for s in line.segments if _of_columns(s, columns, reach)]
        label = " ".join(s.text for s in line.segments if not _of_columns(s, columns, reach))
        cells[0] = f"{cells[0]} {label}".strip()
        shares = _shares(heads, columns, reach)
        for at, column in enumerate(columns):
            head = shares[at] if shares else _head_of(column, heads, reach)
            cells[at + 1] = f"{cells[at + 1]} {head}".strip()
    return cells


def _shares(heads: Sequence[Segment], columns: Sequence[_Column], reach: float) -> list[str]:
    """For each column its head, when the heads stand in the middle of equal groups of columns."""
    if not heads or len(columns) % len(heads):
        return []
    size = len(columns) // len(heads)
    for number, head in enumerate(heads):
        group = columns[number * size : (number + 1) * size]
        middle = (group[0].x0 + group[-1].x1) / 2
        if abs((head.x0 + head.x1) / 2 - middle) > 0.45 * reach:
            return []
    return [head.text for head in heads for _ in range(size)]


def _of_columns(segment: Segment, columns: Sequence[_Column], reach: float) -> bool:
    return segment.x0 >= columns[0].x0 - reach / 2 or is_value(segment.text)


def _spanning(segment: Segment, line: Line, rules: Sequence[Rule]) -> Segment:
    """The segment as wide as the stroke below it."""
    center = (segment.x0 + segment.x1) / 2
    others = [s for s in line.segments if s is not segment]
    for rule in rules:
        below = 0 <= rule.y - line.bottom + 0.3 * line.size <= line.size
        alone = not any(other.x0 < rule.x1 and other.x1 > rule.x0 for other in others)
        if below and alone and rule.x0 <= center <= rule.x1:
            return Segment(min(segment.x0, rule.x0), max(segment.x1, rule.x1), segment.text)
    return segment


def _head_of(column: _Column, heads: Sequence[Segment], reach: float) -> str:
    over = [head for head in heads if column.overlap(head) > 0]
    if over:
        return max(over, key=column.overlap).text
    center = (column.x0 + column.x1) / 2
    near = [(abs((head.x0 + head.x1) / 2 - center), head.text) for head in heads]
    distance, text = min(near, default=(reach, ""))
    return text if distance < 0.75 * reach else ""
