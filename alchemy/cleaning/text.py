"""Normalisation: one spelling of the same text, with its structure (lines, lists, code) kept."""

from __future__ import annotations

import re
import unicodedata

from alchemy.markdown import fenced_spans

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_LINE_END = re.compile("\r\n|[\r\x0b\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TRAILING = re.compile(r"(?<![ \t])[ \t]++(?=\n|\Z)")
_LEADING = re.compile(r"\A(?:[ \t]*\n)+")
PAGE_BREAK = "\f"
"""Stands between two pages of a paged document; see `alchemy.cleaning.chunking`."""
_BLANK_LINES = re.compile(r"\n{3,}")

_SPACES = (
    "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
# invisible characters that split words, hide text from a rule, or reorder what a reader sees;
# the joiners U+200C/D stay, since scripts and emoji need them
_INVISIBLE = (
    "\xad\u061c\u180e\u200b\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff\ufff9\ufffa\ufffb"
    + "".join(chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)
_TABLE: dict[int, str | None] = {
    **{code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\f"},
    **{ord(char): " " for char in _SPACES},
    **{ord(char): None for char in _INVISIBLE},
}


def normalise(text: str) -> str:
    """The text in NFC with newline line ends, no control or invisible characters, no ragged blanks.

    Blanks at line ends go, runs of blank lines become one blank line, except inside fenced code.
    Indentation and spaces inside a line stay. A form feed, which divides pages, stays on a line of
    its own. Applying it twice changes nothing.
    """
    text = _LINE_END.sub("\n", _ANSI.sub("", text))
    # half a surrogate pair is no character and cannot be stored as UTF-8
    text = _SURROGATE.sub("\ufffd", text.translate(_TABLE))
    text = _TRAILING.sub("", unicodedata.normalize("NFC", text))
    if PAGE_BREAK in text:
        first, *pages = text.split(PAGE_BREAK)
        pages = [first.rstrip(), *(_LEADING.sub("", page).rstrip() for page in pages)]
        text = f"\n{PAGE_BREAK}\n".join(pages)
    if "\n\n\n" in text:
        text = _single_blank_lines(text)
    return text.strip("\n").rstrip()


def one_line(text: str) -> str:
    """The normalised text on one line, for titles."""
    return " ".join(normalise(text).split())


def _single_blank_lines(text: str) -> str:
    pieces: list[str] = []
    done = 0
    for start, end in fenced_spans(text):
        end = start + len(text[start:end].rstrip("\n"))
        pieces += (_BLANK_LINES.sub("\n\n", text[done:start]), text[start:end])
        done = end
    pieces.append(_BLANK_LINES.sub("\n\n", text[done:]))
    return "".join(pieces)
