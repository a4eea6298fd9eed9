"""The lines of all pages → text with headings, paragraphs, lists and tables, page by page."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from alchemy.connectors.blocks import Block, Heading, Paragraph, Table, to_markdown, words
from alchemy.connectors.pdf_aligned import find_aligned, goes_on
from alchemy.connectors.pdf_lines import Line, PageLines, Rule, Ruled
from alchemy.connectors.pdf_tables import find_tables, is_value

_EDGE_LINES = 3
"""Running headers and footers are looked for in this many lines at either end of a page."""
_MIN_PAGES = 3
_MAX_HEADING_CHARS = 160
_HEADING_RATIO = 1.12
_BULLET = re.compile(r"[•●○◦▪▫■□‣⁃·►➢✓\uf0a7\uf0b7\uf0d8\uf0fc](?:\s+|(?=\w))|[-–—*o](?:\s+)(?=\S)")
_LONE_BULLET = re.compile(r"[•●○◦▪▫■□‣⁃·►➢✓\uf0a7\uf0b7\uf0d8\uf0fc]")
_NUMBERED = re.compile(
    r"(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)]\s+\S|\((?:\d{1,2}|[a-z]|[ivx]{1,4})\)\s+\S"
)
_SENTENCE_END = re.compile(r"[.:;!?。！？；：][\"'”’)\]]*$")
_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_HAN_END, _HAN_START = re.compile(f"[{_HAN}，。、；：]$"), re.compile(f"^[{_HAN}，。、；：]")
_HYPHEN = re.compile(r"(\w+)[-\u2010]$")
_HALF_AT_START = re.compile(r"^\w+")
_WORD = re.compile(r"\w+(?:-\w+)*")
_MARKUP = re.compile(r"^(?=#{1,6}\s|`{3}|~{3}|\||>\s)", re.M)

_Item: TypeAlias = Line | Ruled


@dataclass(frozen=True)
class Layout:
    """What the pages have in common.

    Attributes:
        sizes: font sizes of headings, largest first.
        body: font size of most of the text.
        repeated: shapes of running headers and footers.
        vocabulary: lower-case words, to tell a hyphen from a broken word.
    """

    body: float
    sizes: tuple[float, ...]
    repeated: frozenset[str]
    vocabulary: frozenset[str]


def study(pages: Sequence[PageLines]) -> Layout:
    """Font sizes, running lines and words of the whole document."""
    chars: Counter[float] = Counter()
    edges: Counter[str] = Counter()
    vocabulary: set[str] = set()
    for page in pages:
        broken = False
        for line in page.lines:
            chars[line.size] += len(line.text)
            # the halves of a broken word are no words
            text = _HALF_AT_START.sub("", line.text) if broken else line.text
            broken = bool(_HYPHEN.search(line.text))
            vocabulary.update(_WORD.findall(_HYPHEN.sub("", text).lower()))
        edges.update({_shape(line) for line in _edge_lines(page)})
    body = max(chars, key=lambda size: (chars[size], -size), default=0.0)
    # a size that most of a page is set in is no heading's
    sizes = {s for s, n in chars.items() if s >= body * _HEADING_RATIO and n < 0.2 * chars.total()}
    most = len(pages) / 2
    repeated = {shape for shape, n in edges.items() if n > most and len(pages) >= _MIN_PAGES}
    return Layout(
        body, tuple(sorted(sizes, reverse=True)), frozenset(repeated), frozenset(vocabulary)
    )


def page_texts(pages: Iterable[PageLines], layout: Layout) -> Iterator[str]:
    """Each page in reading order, without its running header and footer."""
    table: Ruled | None = None
    for page in pages:
        running = {line for line in _edge_lines(page) if _shape(line) in layout.repeated}
        items: list[_Item] = [line for line in page.lines if line not in running]
        items = sorted([*items, *page.tables], key=lambda item: item.bottom)
        blocks: list[Block] = []
        for part in _columns(items):
            if table and isinstance(part[0], Ruled):
                part[0] = _continued(part[0], table)
            _append(blocks, _blocks(part, page.rules, layout))
            table = part[-1] if isinstance(part[-1], Ruled) else None
        yield to_markdown(blocks)


def _append(blocks: list[Block], more: Sequence[Block]) -> None:
    """Add what follows in the next column; a sentence may go on there."""
    last, first = (blocks or [None])[-1], (more or [None])[0]
    if isinstance(last, Paragraph) and isinstance(first, Paragraph):
        before, after = last.inline[0].text, first.inline[0].text
        if after[:1].islower() and not _SENTENCE_END.search(before):
            blocks[-1] = Paragraph(words(f"{before} {after}"))
            more = more[1:]
    blocks.extend(more)


def _continued(table: Ruled, before: Ruled) -> Ruled:
    """The rest of a table that began on the page or column before, with its header again."""
    header = before.rows[0]
    same = len(table.rows[0]) == len(header)
    if not same or table.rows[0] == header or abs(table.width - before.width) > 4:
        return table
    return replace(table, rows=(header, *table.rows))


def _edge_lines(page: PageLines) -> tuple[Line, ...]:
    lines = page.lines
    if len(lines) <= 2 * _EDGE_LINES:
        return lines
    return (*lines[:_EDGE_LINES], *lines[-_EDGE_LINES:])


def _shape(line: Line) -> str:
    """Page numbers differ and the rest of a running line does not."""
    text = re.sub(r"\d+", "#", line.text)
    return "#" if re.fullmatch(r"[-–— ]*[ivxlc]+[-–— ]*", text) else text


# --- columns --------------------------------------------------------------------------------------


def _columns(items: Sequence[_Item]) -> list[list[_Item]]:
    """The items in reading order: on a page set in two columns, left before right.

    What crosses both columns (a title, a wide table) is read where it stands.
    """
    gutter = _gutter(items)
    if gutter is None:
        return [list(items)] if items else []
    parts: list[list[_Item]] = []
    left: list[_Item] = []
    right: list[_Item] = []
    for item in items:
        if isinstance(item, Ruled) or _crosses(item, gutter):
            if _side(item, gutter):
                (left if item.x1 <= gutter else right).append(item)
                continue
            parts += [left, right, [item]]
            left, right = [], []
            continue
        for side, kept in ((left, _cut(item, gutter, 0)), (right, _cut(item, gutter, 1))):
            if kept:
                side.append(kept)
    parts += [left, right]
    return [part for part in parts if part]


def _gutter(items: Sequence[_Item]) -> float | None:
    segments = [s for item in items if isinstance(item, Line) for s in item.segments]
    tables = [item for item in items if isinstance(item, Ruled)]
    for left, right in itertools.permutations(tables, 2):
        beside = min(left.bottom, right.bottom) > max(left.top, right.top)
        between = [s for s in segments if left.x1 < s.x1 and s.x0 < right.x0 and s.x1 > right.x0]
        if beside and left.x1 < right.x0 and not between:
            return right.x0
    if len(segments) < 20:
        return None
    x0, x1 = min(s.x0 for s in segments), max(s.x1 for s in segments)
    third = (x1 - x0) / 3
    for at in sorted({s.x0 - 1 for s in segments if x0 + third < s.x0 < x1 - third}):
        left = [s for s in segments if s.x1 <= at]
        right = [s for s in segments if s.x0 >= at]
        crossing = len(segments) - len(left) - len(right)
        if crossing > 0.15 * len(segments) or min(len(left), len(right)) < 6:
            continue
        # prose on both sides; tables have gutters as well
        lines = [item for item in items if isinstance(item, Line)]
        if all(_is_prose([_cut(line, at, side) for line in lines]) for side in (0, 1)):
            return None if _is_one_table(lines, at) else at
    return None


def _is_one_table(lines: Sequence[Line], gutter: float) -> bool:
    """Whether most of what stands side by side are the rows of tables, whose cells may be sentences.

    Where both sides go on from line to line, rows must be set apart: they are prose otherwise.
    """
    sides = [[part for line in lines if (part := _cut(line, gutter, side))] for side in (0, 1)]
    prose = all(goes_on([line.text for line in side]) for side in sides)
    side_by_side = [line.x0 < gutter < line.x1 for line in lines]
    rows = [
        at
        for found in find_aligned(lines)
        if found.rows and (found.apart or not prose)
        for at in range(found.start, found.end)
        if side_by_side[at]
    ]
    return len(rows) > (0.8 if prose else 0.5) * sum(side_by_side)


def _is_prose(lines: Sequence[Line | None]) -> bool:
    texts = [segment.text for line in lines if line for segment in line.segments]
    words_per_line = sum(len(text.split()) for text in texts) / sum(map(bool, lines))
    return words_per_line >= 3 and sum(map(is_value, texts)) < 0.1 * len(texts)


def _crosses(line: Line, gutter: float) -> bool:
    return any(s.x0 < gutter < s.x1 for s in line.segments)


def _side(item: _Item, gutter: float) -> bool:
    return item.x1 <= gutter or item.x0 >= gutter


def _cut(line: Line, gutter: float, side: int) -> Line | None:
    segments = [s for s in line.segments if (s.x0 >= gutter) == bool(side)]
    return Line.of(segments) if segments else None


# --- blocks ---------------------------------------------------------------------------------------


def _blocks(items: Sequence[_Item], rules: Sequence[Rule], layout: Layout) -> list[Block]:
    blocks: list[Block] = []
    run: list[Line] = []

    def close() -> None:
        at = 0
        for start, end, table in find_tables(run, rules):
            blocks.extend(_aligned(run[at:start], layout))
            blocks.append(table)
            at = end
        blocks.extend(_aligned(run[at:], layout))
        run.clear()

    for item in items:
        if isinstance(item, Line):
            run.append(item)
        else:
            close()
            blocks.append(_table(item.rows, True, layout))
    close()
    return blocks


def _table(rows: Sequence[Sequence[str]], header: bool, layout: Layout) -> Table:
    cells = (
        tuple(words(_joined(cell.split("\n"), layout.vocabulary, cell=True)) for cell in row)
        for row in rows
    )
    return Table(tuple(cells), header=header)


def _aligned(lines: Sequence[Line], layout: Layout) -> list[Block]:
    """Prose with the tables of words in it; prose in columns is read one after the other."""
    blocks: list[Block] = []
    at = 0
    for found in find_aligned(lines):
        blocks += _prose(lines[at : found.start], layout)
        if found.rows:
            blocks.append(_table(found.rows, found.header, layout))
        else:
            for column in found.columns:
                _append(blocks, _prose(column, layout))
        at = found.end
    return blocks + _prose(lines[at:], layout)


def _prose(lines: Sequence[Line], layout: Layout) -> list[Block]:
    """Headings, and lines put together to paragraphs; lists stay line by line."""
    right = max((line.x1 for line in lines), default=0.0)
    groups: list[list[Line]] = []
    for line in lines:
        if groups and _goes_on(groups[-1], line, right, layout):
            groups[-1].append(line)
        else:
            groups.append([line])
    blocks: list[Block] = []
    listed = False
    indents: list[float] = []
    for group in groups:
        text = _joined([line.text for line in group], layout.vocabulary)
        level = _level(group, text, layout)
        bullet = _BULLET.match(text)
        if level:
            blocks.append(Heading(level, words(_escaped(text))))
        elif bullet and text[bullet.end() :].strip():
            indents = [x for x in indents if x < group[0].x0 - 3 and listed]
            entry = f"{'  ' * min(len(indents), 5)}- {text[bullet.end() :].strip()}"
            indents.append(group[0].x0)
            if listed and isinstance(blocks[-1], Paragraph):
                before = blocks[-1].inline[0].text
                blocks[-1] = Paragraph(words(f"{before}\n{entry}"))
            else:
                blocks.append(Paragraph(words(entry)))
        else:
            blocks.append(Paragraph(words(_escaped(text))))
        listed = bool(bullet) and not level
    return blocks


def _goes_on(group: Sequence[Line], line: Line, right: float, layout: Layout) -> bool:
    """Whether a line belongs to the paragraph or heading of the lines before it."""
    last = group[-1]
    if _LONE_BULLET.fullmatch(last.text):  # set a little higher than its text
        return True
    if abs(last.size - line.size) > 0.6 or line.top - last.bottom > 0.75 * line.size:
        return False
    if _BULLET.match(line.text) or _NUMBERED.match(line.text):
        return False
    if _is_big(last, layout):
        return last.bold == line.bold
    if last.bold and not line.bold and len(group) == 1 and not line.text[:1].islower():
        return False  # a bold line of its own
    if len(group) > 1 and not _LONE_BULLET.fullmatch(group[-2].text):
        usual = last.bottom - group[-2].bottom  # the distance between the lines so far
        if line.bottom - last.bottom > 1.25 * usual:
            return False
    word = len(line.text.split(" ", 1)[0]) + 1
    room = right - 0.06 * (right - last.x0) - last.x1
    fits = word * (line.x1 - line.x0) / len(line.text) < room
    if fits and (_SENTENCE_END.search(last.text) or not line.text[:1].islower()):
        return False
    return not (line.x0 > last.x0 + 2 * line.size and not _BULLET.match(last.text))


def _is_big(line: Line, layout: Layout) -> bool:
    return line.size in layout.sizes


def _level(group: Sequence[Line], text: str, layout: Layout) -> int:
    """Heading level by size; bold lines that stand alone come below all sizes; 0 is prose."""
    first = group[0]
    if len(text) > _MAX_HEADING_CHARS or not re.match(r"(?!\().*[^\W\d_]{2}", text):
        return 0
    if _is_big(first, layout):
        return min(layout.sizes.index(first.size) + 1, 4)
    alone = all(line.bold for line in group) and first.size >= layout.body * 0.95
    if alone and not _SENTENCE_END.search(text) and not _BULLET.match(text) and len(group) < 3:
        return min(len(layout.sizes) + 1, 5)
    return 0


def _joined(lines: Sequence[str], vocabulary: frozenset[str], cell: bool = False) -> str:
    """Lines as running text; a word broken by a hyphen is whole again.

    Args:
        cell: a narrow one, in which words are broken without a hyphen, too.
    """
    text = ""
    for line in lines:
        if not text:
            text = line
            continue
        broken, rest = _HYPHEN.search(text), re.match(r"\w+", line)
        if broken and rest and line[:1].islower():
            whole = (broken[1] + rest[0]).lower()
            compound = f"{broken[1]}-{rest[0]}".lower()
            halves = broken[1].lower() in vocabulary and rest[0].lower() in vocabulary
            keeps = compound in vocabulary or (halves and whole not in vocabulary)
            text = (text if keeps else text[:-1]) + line
        elif cell and rest and _is_broken(text, rest[0], vocabulary):
            text += line
        elif text.endswith("\xad"):
            text = text[:-1] + line
        elif (broken and rest) or (_HAN_END.search(text) and _HAN_START.match(line)):
            text += line
        else:
            text = f"{text} {line}"
    return text


def _is_broken(text: str, rest: str, vocabulary: frozenset[str]) -> bool:
    start = re.search(r"\w+$", text)
    whole = f"{start[0]}{rest}".lower() if start else ""
    return bool(start) and rest.islower() and whole in vocabulary and rest not in vocabulary


def _escaped(text: str) -> str:
    """Printed characters that would start a heading, fence, table or quotation do not."""
    return _MARKUP.sub("\\\\", text)
