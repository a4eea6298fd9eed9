"""The light Markdown that every text is stored in: what of it is code."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})", re.MULTILINE)


def fenced_spans(text: str) -> list[tuple[int, int]]:
    """Spans of fenced code, fences included, each ending after its last line's newline.

    A fence that is never closed ends the text, as in CommonMark.
    """
    spans: list[tuple[int, int]] = []
    opened: tuple[int, str] | None = None
    for match in _FENCE.finditer(text):
        mark = match.group(1)
        line_end = text.find("\n", match.end())
        line_end = len(text) if line_end < 0 else line_end + 1
        if opened is None:
            if mark[0] == "`" and "`" in text[match.end() : line_end]:
                continue  # inline code that starts a line
            opened = (match.start(), mark)
        elif mark.startswith(opened[1]) and not text[match.end() : line_end].strip():
            spans.append((opened[0], line_end))
            opened = None
    if opened is not None:
        spans.append((opened[0], len(text)))
    return spans
