"""The embedded refiner: questions and answers written from a chunk's structure.

Every answer is made of the chunk's own words; `verification` checks that all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from alchemy.synthesis.structure import Structure, lead, one_line, parse, plain
from alchemy.types import Chunk, text_digest

_ISSUE_KEY = re.compile(r"(?<![\w-])([A-Z][A-Z0-9]{1,9}-[1-9]\d{0,6})(?![\d-])")
_OPTION = re.compile(
    r"^(?P<text>.*?)\s*\((?P<facts>[^()]*(?:default|required)[^()]*)\)\.?(?:\s*//.*)?$", re.I
)
_DEFAULT = re.compile(r"\bdefault(?: value)?(?: is|:|=)\s*(`[^`]+`|[^\s,;)]+)", re.I)
_LONGEST_ANSWER = 400
_LONGEST_LABEL = 90
_LONGEST_TITLE = 160
_GENERIC = re.compile(
    r"(?:with )?(?:options?|parameters?|properties|arguments|introduction|overview|examples?|usage"
    r"|notes?|return value|methods?|fields?|values?|summary|details|configuration|requirements)",
    re.I,
)
"""Headings that say nothing without the one above them."""
_SOURCE_NOUNS = {"jira": "issues", "git_pr": "changes", "database": "records"}


@dataclass(frozen=True)
class Candidate:
    """A pair before verification.

    Attributes:
        kind: what structure it comes from (`summary`, `option`, `change`, …).
        evidence: where the answer must be found again: in the chunk, in its document's insight, or
            in the two together.
    """

    kind: str
    question: str
    answer: str
    evidence: Literal["chunk", "insight", "either"] = "chunk"


class PairWriter(Protocol):
    """Writes candidates for one chunk, best first. Raises AlchemyError when its model fails."""

    def write(self, chunk: Chunk, insight: str | None) -> list[Candidate]:
        """Candidates from what the chunk and its document's insight say."""
        ...


class StructureWriter:
    """`model_a: embedded`. No model: a table of what can be asked about which structure."""

    def write(self, chunk: Chunk, insight: str | None) -> list[Candidate]:
        """See `PairWriter`. Same chunk, same candidates."""
        structure = parse(chunk.text)
        writers = _BY_SOURCE.get(chunk.source, (_page, _definitions, _tables))
        first = list(writers[0](chunk, structure))
        details = [c for writer in writers[1:] for c in writer(chunk, structure)]
        # a chunk has more details than pairs: which ones are asked is spread by their digest,
        # instead of always the topmost
        details.sort(key=lambda c: text_digest(chunk.id, c.question))
        candidates = (*_insight(chunk, insight), *first, *details)
        return [c for c in candidates if len(c.answer) <= _LONGEST_ANSWER]


def evidence_of(chunk: Chunk) -> str:
    """All that a chunk says, its document's kind and key included."""
    named = f"{_noun(chunk.document_id)} {document_key(chunk.document_id)}"
    return "\n".join((chunk.title, *chunk.heading_path, chunk.text, named))


def document_key(document_id: str) -> str:
    """`jira:XD-123` → `XD-123`."""
    return document_id.partition(":")[2]


def _noun(document_id: str) -> str:
    source, _, key = document_id.partition(":")
    if source == "git_pr":
        return "pull request" if "#" in key else "commit"
    return {"jira": "issue"}.get(source, "document")


def _choose(chunk: Chunk, *questions: str) -> str:
    """One of several wordings, the same for the same chunk in every run."""
    return questions[int(text_digest(chunk.id, questions[0])[:8], 16) % len(questions)]


def _insight(chunk: Chunk, insight: str | None) -> Iterator[Candidate]:
    if insight and chunk.ordinal == 0:
        name = document_key(chunk.document_id) if chunk.source == "jira" else chunk.title
        nouns = _SOURCE_NOUNS.get(chunk.source, "documents")
        question = f"How does {name} compare with other {nouns}?"
        yield Candidate("insight", question, insight, "insight")


def _issue(chunk: Chunk, structure: Structure) -> Iterator[Candidate]:
    key, title = document_key(chunk.document_id), chunk.title
    summary = lead(structure.paragraphs)
    if any(heading.startswith("Comment ") for heading in chunk.heading_path):
        if summary:
            yield Candidate("comment", f"What does a comment on {key} say?", summary)
    elif chunk.ordinal == 0:
        said = summary if summary and not _same(summary, title) else ""
        question = _choose(
            chunk, f"What is {key} about?", f"Summarize {key}.", f"What does {key} describe?"
        )
        yield Candidate("summary", question, f"{_ended(title)} {said}".strip())
        if len(title) > _LONGEST_TITLE:
            return
        yield Candidate("key", f"Which issue is about {_quoted(title)}?", f"{key}: {title}")
        if said:
            question = _choose(
                chunk,
                f"What does the issue {_quoted(title)} ask for?",
                f"Explain the issue {_quoted(title)}.",
            )
            yield Candidate("detail", question, said)


def _change(chunk: Chunk, structure: Structure) -> Iterator[Candidate]:
    if chunk.ordinal:
        return
    key, title = document_key(chunk.document_id), chunk.title
    name = f"{_noun(chunk.document_id)} {key}"
    summary = lead(structure.paragraphs)
    said = summary if summary and not _same(summary, title) else ""
    for issue in dict.fromkeys(_ISSUE_KEY.findall(f"{title}\n{chunk.text}")):
        question = _choose(
            chunk, f"Which change addresses {issue}?", f"Which commit mentions {issue}?"
        )
        yield Candidate("link", question, f"{title} ({name})")
    yield Candidate("change", f"What does {name} change?", f"{_ended(title)} {said}".strip())
    if said and len(title) <= _LONGEST_TITLE:
        yield Candidate("detail", f"What is the change {_quoted(title)} about?", said)


def _record(chunk: Chunk, structure: Structure) -> Iterator[Candidate]:
    """A table row: its title names it, its lines are `column: value`."""
    label = chunk.title.partition(": ")[2] or chunk.title
    for name, value in structure.fields:
        shown = plain(value)
        if shown and shown not in label and len(label) <= _LONGEST_LABEL:
            yield Candidate("field", f"What is the {name} of {label}?", shown)


def _nothing(chunk: Chunk, structure: Structure) -> Iterator[Candidate]:
    return iter(())


def _page(chunk: Chunk, structure: Structure) -> Iterator[Candidate]:
    """A section of a document: asked by its headings, answered by its first sentences."""
    summary = lead(structure.paragraphs)
    section = plain(chunk.heading_path[-1]) if chunk.heading_path else ""
    begins_here = not chunk.ordinal or section in structure.headings
    if not summary or not begins_here or len(section) > _LONGEST_LABEL:
        return
    if not section or section == chunk.title:
        question = _choose(chunk, f"What is {chunk.title}?", f"What is {chunk.title} about?")
    elif section.endswith("?"):
        question = section
    else:
        where = _section(chunk)
        question = _choose(chunk, f"What is {where} about?", f"Explain {where}.")
    yield Candidate("section", question, summary)


def _definitions(chunk: Chunk, structure: Structure) -> Iterator[Candidate]:
    """List items `- term: text`: options with their defaults, parameters, glossary entries."""
    section = _section(chunk)
    for term, text in structure.definitions:
        option = _OPTION.match(text)
        meaning = plain(option["text"] if option else text)
        if not meaning or len(term.split()) > 6:
            continue
        if option is None:
            yield Candidate("definition", f"What is {term} in {section}?", meaning)
            continue
        yield Candidate("option", f"What does the option {term} of {section} do?", meaning)
        if default := _DEFAULT.search(option["facts"]):
            question = f"What is the default of the option {term} of {section}?"
            answer = f"The default of {term} is {plain(default[1])}."
            yield Candidate("default", question, answer)


def _tables(chunk: Chunk, structure: Structure) -> Iterator[Candidate]:
    section = _section(chunk)
    for table in structure.tables:
        if len(table.header) < 2:
            continue
        named = [_row_name(row) for row in table.rows]
        for row, name in zip(table.rows, named, strict=True):
            # a row that is not told apart by its first cells has no name to ask by
            if name and row[-1] and named.count(name) == 1:
                column = table.header[-1].lower()
                yield Candidate("row", f"What is the {column} of {name} in {section}?", row[-1])


def _row_name(row: tuple[str, ...]) -> str:
    return " ".join(cell for cell in row[:-1][:2] if cell)


def _section(chunk: Chunk) -> str:
    """The nearest heading that says something, with the document's title unless they are the same.

    `MQTT Options (Sources)`: a heading like "Options" is named after the one above it.
    """
    path = [plain(heading) for heading in chunk.heading_path]
    if not path or path[-1] == chunk.title:
        return chunk.title
    section = path[-1]
    if _GENERIC.fullmatch(section) and len(path) > 1 and path[-2] != chunk.title:
        section = f"{path[-2]} {section}"
    return f"{section} ({chunk.title})"


def _quoted(title: str) -> str:
    return f'"{title}"' if '"' not in title else title


def _ended(title: str) -> str:
    title = title.rstrip(" :;,")
    return title if title.endswith((".", "!", "?", "。", "！", "？")) else f"{title}."


def _same(first: str, second: str) -> bool:
    return one_line(first).rstrip(".").casefold() == one_line(second).rstrip(".").casefold()


_Write = Callable[[Chunk, Structure], Iterator[Candidate]]
_BY_SOURCE: dict[str, tuple[_Write, ...]] = {
    "jira": (_issue,),
    "git_pr": (_change,),
    "database": (_nothing, _record),
}
"""Source → the writer whose pairs come first, and those whose pairs fill up."""
