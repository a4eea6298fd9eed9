"""Boilerplate: lines and blocks that many documents of one source share, such as mail footers.

Two passes. The first counts in how many documents of its source each line occurs (`count`; counts of
parts of the data add up, see `Counts.add`); the second takes out those that reach both limits of
`cleaning.boilerplate` (`common`, `strip`). Both work on redacted text, so that what is kept as a
sample shows nothing.

A line counts when it is prose of at least `min_chars` characters: headings, field labels with their
values, table rows, rules, stack frames, log lines and fenced code never do. A block, a paragraph of
several lines, counts as a whole, so that the short lines of a licence header go with it. Lines are compared without
case, markup and numbers: `(v6.3.4#6332)` is `(v6.3.15#6346)`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from alchemy.cleaning.text import normalise
from alchemy.markdown import fenced_spans
from alchemy.types import Document, JsonRecord, text_digest

if TYPE_CHECKING:
    from alchemy.config import BoilerplateSettings

SAMPLE_CHARS = 160

_STRUCTURE = re.compile(
    r"\s*(?:\#{1,6}[ ]|\||```|~~~|[-=*_~]{3,}\s*$"  # headings, tables, fences, rules
    r"|(?:[-*+]\s+)?(?:\*\*|__)?[^\W\d_][\w /()&.'-]{0,40}+(?:\*\*|__)?[:：](?:\s|\*|_|$)"  # field labels
    r"|[\[(]?(?:[A-Z]\d{4}|\d{2,4}[-/.]\d\d[-/.]\d{2,4}|\d\d:\d\d)"  # log lines
    r"|at\s+[\w.$]{1,200}\()",  # stack frames
    re.VERBOSE,
)
_PLACE = re.compile(r"\w\.\w{1,5}:\d")  # file:line
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_PUNCTUATION = ".,;:!?()[]\"'`*_<>-–—/"
_WORDS, _SPELLED_SHARE, _IDEOGRAPHS = 4, 0.6, 6
_MARKUP = re.compile(r"[\s>*_`~]+")
_DIGITS = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass
class Counts:
    """In how many documents of a source each line or block occurs.

    Attributes:
        documents: source → documents counted.
        lines: source → digest of the normalised line → documents with it.
    """

    documents: Counter[str] = field(default_factory=Counter)
    lines: dict[str, Counter[int]] = field(default_factory=dict[str, Counter[int]])

    def add(self, other: Counts) -> None:
        """Take up the counts of other documents."""
        self.documents.update(other.documents)
        for source, lines in other.lines.items():
            self.lines.setdefault(source, Counter()).update(lines)


@dataclass(frozen=True)
class Stripped:
    """What was taken out of a document: digest → the line or block, once for each time."""

    document: Document
    removed: tuple[tuple[int, str], ...]

    @property
    def lines(self) -> int:
        """How many lines went."""
        return sum(text.count("\n") + 1 for _, text in self.removed)


@dataclass(frozen=True)
class BoilerplateLine(JsonRecord):
    """A line or block that is left out of its source's documents, for the report.

    Attributes:
        line: its digest in hex.
        documents: how many documents have it.
        sample: its redacted text as the first of them spells it, shortened.
    """

    source: str
    line: str
    documents: int
    sample: str


def count(documents: Iterable[Document], settings: BoilerplateSettings) -> Counts:
    """First pass over a batch; each document counts once for each of its lines."""
    counts = Counts()
    for document in documents:
        counts.documents[document.source] += 1
        seen = {digest for digest, _, _ in _pieces(document.text, settings.min_chars)}
        counts.lines.setdefault(document.source, Counter()).update(seen)
    return counts


def limit(documents: int, settings: BoilerplateSettings) -> float:
    """In how many of a source's documents a line must stand to be boilerplate."""
    return max(settings.min_documents, settings.min_share * documents)


def common(counts: Counts, settings: BoilerplateSettings) -> dict[str, frozenset[int]]:
    """Source → digests that reach both limits; empty when the settings turn this off."""
    if not settings.enabled:
        return {}
    found: dict[str, frozenset[int]] = {}
    for source, lines in counts.lines.items():
        least = limit(counts.documents[source], settings)
        if reached := frozenset(line for line, documents in lines.items() if documents >= least):
            found[source] = reached
    return found


def strip(
    document: Document, boilerplate: Mapping[str, frozenset[int]], settings: BoilerplateSettings
) -> Stripped:
    """The document without its source's boilerplate, its hash renewed.

    A document that would be left without text keeps all of it.
    """
    lines = boilerplate.get(document.source)
    if not lines:
        return Stripped(document, ())
    kept: list[str] = []
    removed: list[tuple[int, str]] = []
    done = 0
    for digest, start, end in _pieces(document.text, settings.min_chars):
        if digest in lines and start >= done:
            kept.append(document.text[done:start])
            removed.append((digest, document.text[start:end]))
            done = end
    text = normalise("".join((*kept, document.text[done:])))
    if not removed or not text.strip():
        return Stripped(document, ())
    renewed = replace(document, text=text, content_hash=text_digest(document.title, text))
    return Stripped(renewed, tuple(removed))


def sample(document: Document, line: int, settings: BoilerplateSettings) -> str:
    """How a document spells one of its lines, shortened; empty when it does not have it."""
    for digest, start, end in _pieces(document.text, settings.min_chars):
        if digest == line:
            return " ".join(document.text[start:end].split())[:SAMPLE_CHARS]
    return ""


def _pieces(text: str, min_chars: int) -> Iterator[tuple[int, int, int]]:
    """Digest, start and end of each block and line that counts; a block before its lines."""
    at = 0
    for start, end in (*fenced_spans(text), (len(text), len(text))):
        yield from _prose_pieces(text, at, start, min_chars)
        at = end


def _prose_pieces(text: str, at: int, until: int, min_chars: int) -> Iterator[tuple[int, int, int]]:
    block: list[tuple[int, int]] = []
    while at < until:
        stop = text.find("\n", at, until)
        stop = until if stop < 0 else stop
        if text[at:stop].strip():
            block.append((at, stop))
        else:
            yield from _block_pieces(text, block, min_chars)
            block = []
        at = stop + 1
    yield from _block_pieces(text, block, min_chars)


def _block_pieces(
    text: str, block: list[tuple[int, int]], min_chars: int
) -> Iterator[tuple[int, int, int]]:
    if len(block) > 1 and not any(_STRUCTURE.match(text[start:end]) for start, end in block):
        start, end = block[0][0], block[-1][1]
        if end - start >= min_chars and _is_prose(" ".join(text[start:end].split())):
            yield _digest(text[start:end]), start, end
    for start, end in block:
        if end - start >= min_chars and _is_prose(text[start:end]):
            yield _digest(text[start:end]), start, end


def _is_prose(line: str) -> bool:
    """Whether a line is sentences rather than structure, code, or the line of a log."""
    if _STRUCTURE.match(line) or _PLACE.search(line):
        return False
    if len(_IDEOGRAPH.findall(line)) >= _IDEOGRAPHS:
        return True
    words = line.split()
    spelled = sum(1 for word in words if word.strip(_PUNCTUATION).isalpha())
    return spelled >= _WORDS and spelled >= _SPELLED_SHARE * len(words)


def _digest(text: str) -> int:
    plain = _DIGITS.sub("0", _MARKUP.sub(" ", text.casefold())).strip()
    return int.from_bytes(blake2b(plain.encode("utf-8", "replace"), digest_size=8).digest(), "big")
