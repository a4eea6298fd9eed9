"""PowerPoint presentations (PPTX) → one section and one page per slide."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from alchemy.connectors.blocks import (
    Block,
    Callout,
    Heading,
    Inline,
    Paragraph,
    Span,
    Table,
    plain,
    to_markdown,
    words,
)
from alchemy.connectors.content import PAGE_BREAK, Content
from alchemy.connectors.fields import clean_line
from alchemy.connectors.ooxml import ListLine, check_package, nested, properties, reading

_UNPACKED_RATIO = 4


def read_pptx(raw: bytes, max_bytes: int) -> Content:
    """The document of a PPTX file; a page is a slide.

    Raises:
        BadRecord: not a PPTX file, damaged, encrypted or a bomb.
    """
    check_package(raw, "ppt/presentation.xml", _UNPACKED_RATIO * max_bytes)
    from pptx import Presentation

    with reading("PPTX"):
        presentation = Presentation(io.BytesIO(raw))
        core = properties(presentation.core_properties)
        slides = [list(_slide(n, s)) for n, s in enumerate(presentation.slides, 1)]
        title = core.title or _title(next(iter(presentation.slides), None))
    texts = [to_markdown(blocks) for blocks in slides]
    if not any(len(blocks) > 1 or ":" in text for blocks, text in zip(slides, texts, strict=True)):
        texts = []  # nothing but the numbers of its slides
    return Content(
        title if title.lower() != "powerpoint presentation" else "",
        f"\n{PAGE_BREAK}\n".join(texts),
        core.created_at,
        core.updated_at,
        {"pages": len(slides)},
    )


def _title(slide: Any) -> str:
    shape = slide.shapes.title if slide is not None else None
    return clean_line(shape.text_frame.text) if shape is not None else ""


def _slide(number: int, slide: Any) -> Iterator[Block]:
    title = _title(slide)
    yield Heading(2, words(f"Slide {number}: {title}" if title else f"Slide {number}"))
    heading = slide.shapes.title
    for shape in _shapes(slide.shapes):
        if heading is None or shape.shape_id != heading.shape_id:
            yield from _shape(shape)
    if slide.has_notes_slide:
        frame = slide.notes_slide.notes_text_frame
        notes = [p for p in map(_inline, frame.paragraphs if frame else ()) if plain(p).strip()]
        if notes:
            yield Callout("Notes", tuple(Paragraph(note) for note in notes))


def _shapes(shapes: Iterable[Any]) -> Iterator[Any]:
    """All shapes in order, groups opened."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _shape(shape: Any) -> Iterator[Block]:
    if getattr(shape, "has_table", False) and shape.has_table:
        rows = tuple(
            tuple(words(clean_line(cell.text_frame.text)) for cell in row.cells)
            for row in shape.table.rows
        )
        yield Table(rows, header=shape.table.first_row)
    elif getattr(shape, "has_chart", False) and shape.has_chart:
        yield from _chart(shape.chart)
    elif shape.has_text_frame:
        lines = [(p.level, _inline(p)) for p in shape.text_frame.paragraphs]
        lines = [(level, inline) for level, inline in lines if plain(inline).strip()]
        if _is_list(shape, [level for level, _ in lines]):
            yield from nested([ListLine(level, "bullet", inline) for level, inline in lines])
        else:
            yield from (Paragraph(inline) for _, inline in lines)


def _is_list(shape: Any, levels: list[int]) -> bool:
    """Whether the paragraphs are points: those of a slide's body are, those of a text box are not."""
    from pptx.enum.shapes import PP_PLACEHOLDER

    if any(levels):
        return True
    kind = shape.placeholder_format.type if shape.is_placeholder else None
    return kind in (PP_PLACEHOLDER.BODY, PP_PLACEHOLDER.OBJECT)


def _chart(chart: Any) -> Iterator[Block]:
    """A chart's title and its data, series by series."""
    if chart.has_title and chart.chart_title.has_text_frame:
        yield Paragraph(words(clean_line(chart.chart_title.text_frame.text)))
    for plot in chart.plots:
        categories = [clean_line(str(category)) for category in plot.categories]
        series = [(clean_line(s.name or ""), [_number(v) for v in s.values]) for s in plot.series]
        rows = [["", *(name for name, _ in series)]]
        for at in range(max((len(values) for _, values in series), default=0)):
            head = categories[at] if at < len(categories) else ""
            rows.append([head, *(v[at] if at < len(v) else "" for _, v in series)])
        if len(rows) > 1:
            yield Table(tuple(tuple(words(c) for c in row) for row in rows), header=True)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _inline(paragraph: Any) -> Inline:
    spans: list[Span] = []
    for run in paragraph.runs:
        address = run.hyperlink.address
        spans.append(Span(run.text, "link", address) if address else Span(run.text))
    # line breaks and fields are not runs
    text = plain(spans)
    return tuple(spans) if text == paragraph.text else words(paragraph.text.replace("\v", "\n"))
