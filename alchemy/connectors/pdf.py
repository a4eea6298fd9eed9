"""PDF files: text with headings, paragraphs and tables, page by page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from alchemy.connectors.content import PAGE_BREAK, Content, utc
from alchemy.connectors.fields import BadRecord, clean_line
from alchemy.connectors.pdf_layout import page_texts, study
from alchemy.connectors.pdf_lines import PageLines, page_lines

_TAIL = 2048
_DATE = re.compile(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:([+-])(\d\d)'?(\d\d)?|Z)?")
_NO_TITLE = re.compile(
    r"[\W\d_]*|untitled.*|(?:microsoft )?(?:word|powerpoint|excel)\b.*|.*\.(?:docx?|pptx?|xlsx?|pdf|indd|tex|dvi)",
    re.I,
)
_UNMAPPED = re.compile(r"\(cid:\d+\)|\ufffd")


def parse_pdf(raw: bytes, max_bytes: int) -> Content:
    """The document of a PDF, without a limit of time: see `pdf_process.read_pdf`.

    Raises:
        BadRecord: damaged, encrypted, too large, or nothing but pictures.
        MemoryError: it needs more than this process may have.
    """
    import pdfplumber
    from pdfminer.pdfdocument import PDFPasswordIncorrect

    try:
        with pdfplumber.open(io.BytesIO(raw)) as pdf:
            metadata = dict(pdf.metadata or {})
            pages = list(_pages(pdf, max_bytes))
    except Exception as error:
        cause = _cause(error)
        if isinstance(cause, PDFPasswordIncorrect):
            raise BadRecord("encrypted: a password is needed to read it") from error
        raise BadRecord(f"not readable as PDF ({type(cause).__name__})") from error
    return _content(pages, metadata)


def _cause(error: Exception) -> Exception:
    """What was raised below the library's own wrapping; a limit that was reached is raised again."""
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    if isinstance(cause, BadRecord | MemoryError):
        raise cause
    return cause


def check_whole(raw: bytes) -> None:
    """Refuse what is no PDF or was cut off."""
    if b"%PDF-" not in raw[:1024]:
        raise BadRecord("not a PDF file: it has no PDF header")
    # the parser would search a truncated file for what is left of it, and say nothing
    if b"%%EOF" not in raw.rstrip(b"\0")[-_TAIL:]:
        raise BadRecord("truncated: the end of the PDF is missing")


def _pages(pdf: Any, max_bytes: int) -> Iterator[PageLines]:
    """Page by page: the parser keeps everything of a page until it is closed."""
    from pdfminer.pdftypes import resolve1

    tree = resolve1(pdf.doc.catalog.get("Pages"))
    wanted = resolve1(tree.get("Count")) if isinstance(tree, dict) else None
    if isinstance(wanted, int) and wanted > len(pdf.pages):
        raise BadRecord(f"damaged: {len(pdf.pages)} of {wanted} pages are readable")
    size = 0
    for page in pdf.pages:
        try:
            found = page_lines(page)
        except Exception as error:
            cause = type(_cause(error)).__name__
            raise BadRecord(f"page {page.page_number} is not readable ({cause})") from error
        page.close()
        size += sum(len(line.text) for line in found.lines)
        size += sum(len(cell) for table in found.tables for row in table.rows for cell in row)
        if size > max_bytes:
            raise BadRecord(f"its text is larger than cleaning.max_record_bytes ({max_bytes})")
        yield found


def _content(pages: list[PageLines], metadata: Mapping[str, Any]) -> Content:
    texts = list(page_texts(pages, study(pages)))
    bare = [not page.lines and not page.tables for page in pages]
    if all(bare):
        raise BadRecord("no text layer: the pages are pictures, run OCR on them first")
    whole = "".join(texts)
    unmapped = sum(len(found) for found in _UNMAPPED.findall(whole))
    if 3 * unmapped > len(whole):
        raise BadRecord("the text layer has no readable characters: its fonts have no mapping")
    title = clean_line(str(metadata.get("Title") or ""))
    return Content(
        "" if _NO_TITLE.fullmatch(title) else title,
        f"\n{PAGE_BREAK}\n".join(texts),
        _moment(metadata.get("CreationDate")),
        _moment(metadata.get("ModDate")),
        {
            "pages": len(pages),
            # nothing of a scanned page can be found, and somebody should know
            "pages_without_text": [
                number
                for number, (page, empty) in enumerate(zip(pages, bare, strict=True), 1)
                if empty and page.has_images
            ],
        },
    )


def _moment(value: Any) -> str | None:
    """A PDF date; what is not one is no date, since nothing else depends on it."""
    match = _DATE.match(value) if isinstance(value, str) else None
    if not match:
        return None
    numbers = [int(part) if part else None for part in match.groups()[:6]]
    shift = timedelta(hours=int(match[8] or 0), minutes=int(match[9] or 0))
    try:
        zone = timezone(-shift if match[7] == "-" else shift) if match[7] else UTC
        year, month, day, *time = numbers
        return utc(datetime(year or 0, month or 1, day or 1, *(n or 0 for n in time), tzinfo=zone))
    except (ValueError, OverflowError):
        return None
