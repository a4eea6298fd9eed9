"""A PDF page as its lines of text and ruled tables, in the geometry of the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

_WORD_GAP = 0.15
"""In ems; a narrower gap between two characters is kerning."""
_SEGMENT_GAP = 0.9
"""In ems; a wider gap inside a line separates columns, justified prose stays below it."""
_RULE = 2.5
"""In points; what is thicker is a filled area, and its border is not the border of a cell."""
_CURRENCY = re.compile(r"(?:US|C|A)?[$€£¥]\s*\(?")
_VALUE_END = re.compile(r"[\d)%—–]$")
_CLOSING = re.compile(r"\)?\s*(?:%|pts?\.?|ppts?|x)?\s*\)?")
_CID_BULLET = "(cid:127)"
"""The bullet of the standard fonts where a font names no characters; ReportLab writes it so."""
_BOLD = re.compile(r"bold|black|heavy|demi", re.I)


@dataclass(frozen=True, slots=True)
class Segment:
    """Words of one line without a wide gap between them; `size` and `bold` are those of most."""

    x0: float
    x1: float
    text: str
    top: float = 0.0
    bottom: float = 0.0
    size: float = 0.0
    bold: bool = False

    def joined(self, after: Segment) -> Segment:
        """One segment with the text of both, as set as the longer one."""
        style = max(self, after, key=lambda s: len(s.text))
        return replace(
            style,
            x0=self.x0,
            x1=after.x1,
            text=self.text + after.text,
            top=min(self.top, after.top),
            bottom=max(self.bottom, after.bottom),
        )


@dataclass(frozen=True, slots=True)
class Line:
    """What stands side by side."""

    segments: tuple[Segment, ...]
    top: float
    bottom: float
    size: float
    bold: bool

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Line:
        """The line of these segments, as set as the longest style among them."""
        chars: dict[tuple[float, bool], int] = {}
        for s in segments:
            chars[s.size, s.bold] = chars.get((s.size, s.bold), 0) + len(s.text)
        size, bold = max(chars, key=chars.__getitem__)
        top, bottom = min(s.top for s in segments), max(s.bottom for s in segments)
        return cls(tuple(segments), top, bottom, size, bold)

    @property
    def x0(self) -> float:
        """Left end."""
        return self.segments[0].x0

    @property
    def x1(self) -> float:
        """Right end."""
        return self.segments[-1].x1

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Ruled:
    """A table whose cells are drawn; the text of its cells, line by line."""

    x0: float
    x1: float
    top: float
    bottom: float
    rows: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> float:
        """From its left to its right border."""
        return self.x1 - self.x0


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal stroke: under a table's header it spans the columns that the header is for."""

    x0: float
    x1: float
    y: float


@dataclass(frozen=True, slots=True)
class PageLines:
    """A page, top to bottom."""

    lines: tuple[Line, ...]
    tables: tuple[Ruled, ...]
    rules: tuple[Rule, ...]
    has_images: bool


def page_lines(page: Any) -> PageLines:
    """Lines, ruled tables and horizontal strokes of a `pdfplumber` page."""
    tables = tuple(_ruled(page))
    if _is_printed_twice(page.chars):
        page = page.dedupe_chars()  # costs ten times what the rest does
    words = page.extract_words(
        x_tolerance_ratio=_WORD_GAP, use_text_flow=False, keep_blank_chars=False, return_chars=True
    )
    free = [word for word in words if not any(_inside(word, table) for table in tables)]
    rules = tuple(
        Rule(stroke["x0"], stroke["x1"], stroke["top"])
        for stroke in (*page.rects, *page.lines)
        if stroke["height"] <= _RULE and stroke["width"] > 2 * _RULE
    )
    return PageLines(tuple(map(_line, _rows(free))), tables, rules, bool(page.images))


def _is_printed_twice(chars: Sequence[Any]) -> bool:
    """Whether text was made bold by printing it again in nearly the same place."""
    places = {(char["text"], round(char["x0"]), round(char["top"])) for char in chars}
    return len(places) < 0.98 * len(chars)


def _ruled(page: Any) -> Iterable[Ruled]:
    drawn = page.filter(
        lambda item: (
            item["object_type"] in ("char", "line")
            or (item["object_type"] == "rect" and _is_stroke(item))
        )
    )
    for table in drawn.find_tables({"snap_tolerance": 2, "intersection_tolerance": 3}):
        rows = table.extract(x_tolerance_ratio=_WORD_GAP)
        cells = tuple(tuple((cell or "").strip() for cell in row) for row in rows)
        filled = tuple(row for row in cells if any(row))
        used = [any(row[column] for row in filled) for column in range(len(cells[0]))]
        if len(filled) > 1 and sum(used) > 1:
            rows_used = tuple(
                tuple(cell for cell, keep in zip(row, used, strict=True) if keep) for row in filled
            )
            x0, top, x1, bottom = table.bbox
            yield Ruled(x0, x1, top, bottom, rows_used)


def _is_stroke(item: Any) -> bool:
    # a rectangle that is drawn and not filled is a cell's own border
    return min(item["width"], item["height"]) <= _RULE or (item["stroke"] and not item["fill"])


def _inside(word: Any, table: Ruled) -> bool:
    x, y = (word["x0"] + word["x1"]) / 2, (word["top"] + word["bottom"]) / 2
    return table.x0 <= x <= table.x1 and table.top <= y <= table.bottom


def _rows(words: Sequence[Any]) -> list[list[Any]]:
    """Words that share most of their height, left to right; rows from top to bottom."""
    rows: list[list[Any]] = []
    spans: list[tuple[float, float]] = []
    for word in sorted(words, key=lambda w: (round(w["bottom"], 1), w["x0"])):
        for at in range(len(rows) - 1, max(-1, len(rows) - 5), -1):
            top, bottom = spans[at]
            shared = min(bottom, word["bottom"]) - max(top, word["top"])
            if shared > 0.6 * min(bottom - top, word["bottom"] - word["top"]):
                rows[at].append(word)
                if word["bottom"] - word["top"] > bottom - top:
                    spans[at] = (word["top"], word["bottom"])
                break
        else:
            rows.append([word])
            spans.append((word["top"], word["bottom"]))
    order = sorted(range(len(rows)), key=lambda at: (spans[at][1], rows[at][0]["x0"]))
    return [sorted(rows[at], key=lambda w: w["x0"]) for at in order]


def _line(words: Sequence[Any]) -> Line:
    groups: list[list[Any]] = []
    for word in words:
        last = groups[-1][-1] if groups else None
        near = last and word["x0"] - last["x1"] <= _SEGMENT_GAP * word["chars"][0]["size"]
        # the sign stands at the left of its column, and so close to the value of the one before
        sign = last and _CURRENCY.fullmatch(word["text"]) and _VALUE_END.search(last["text"])
        if near and not sign:
            groups[-1].append(word)
        else:
            groups.append([word])
    return Line.of(_whole([_segment(group) for group in groups]))


def _segment(words: Sequence[Any]) -> Segment:
    sizes: dict[tuple[float, bool], int] = {}
    for word in words:
        for char in word["chars"]:
            kind = (round(char["size"], 1), bool(_BOLD.search(char["fontname"])))
            sizes[kind] = sizes.get(kind, 0) + 1
    size, bold = max(sizes, key=sizes.__getitem__)
    return Segment(
        words[0]["x0"],
        words[-1]["x1"],
        " ".join(word["text"] for word in words).replace(_CID_BULLET, "•"),
        min(word["top"] for word in words),
        max(word["bottom"] for word in words),
        size,
        bold,
    )


def _whole(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """A currency sign belongs to the number after it, a percent sign to the one before."""
    found: list[Segment] = []
    for segment in segments:
        before = found[-1] if found else None
        if before and _CURRENCY.fullmatch(before.text) and segment.text[:1] in "0123456789(—–-.":
            found[-1] = before.joined(segment)
        elif before and before.text[-1:].isdigit() and _CLOSING.fullmatch(segment.text):
            found[-1] = before.joined(segment)
        else:
            found.append(segment)
    return tuple(found)
