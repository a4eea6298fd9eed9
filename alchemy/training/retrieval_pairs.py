"""What the embedding model can learn from a corpus: texts that mean certain documents.

- links: a change (commit, pull request) means the issues it names; the names are taken out;
- titles: a title means the beginning of its document;
- questions: a verified SFT pair's question means the document it was made from;
- feedback: a question whose answer people approved means the documents it cited.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from alchemy.types import Chunk, Document, JsonRecord, SftPair, text_digest

Kind = Literal["link", "title", "question", "feedback"]

_ISSUES = "jira"
_CHANGES = "git_pr"
_KEY = r"(?:https?://\S*/)?(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"
_MOST_QUERY_CHARS = 1000
"""A query longer than this is a document; the model reads 256 tokens."""
_LEAST_WORDS = 2
_NOT_ASKED = frozenset({"insight"})
"""Pairs whose answer stands in no document."""


@dataclass(frozen=True)
class RetrievalPair(JsonRecord):
    """A text and the documents it means.

    Attributes:
        documents: ids; any of them is a right answer.
        acl: groups that may read everything the pair was made of.
    """

    query: str
    documents: tuple[str, ...]
    kind: Kind
    tenant: str
    acl: tuple[str, ...]

    @property
    def id(self) -> str:
        """`rp-<12 hex>` of query and documents."""
        return f"rp-{text_digest(self.query, *self.documents)[:12]}"


def corpus_pairs(
    documents: Iterable[Document], chunks: Iterable[Chunk], questions: Iterable[SftPair]
) -> list[RetrievalPair]:
    """All pairs a corpus offers, each once, in a stable order.

    Args:
        documents: the cleaned corpus.
        questions: pairs to train on; verified ones are used.
    """
    known = {document.id: document for document in documents}
    found = [
        *link_pairs(known),
        *title_pairs(chunks),
        *question_pairs(questions, known),
    ]
    return list({pair.id: pair for pair in found}.values())


def link_pairs(documents: Mapping[str, Document]) -> Iterator[RetrievalPair]:
    """Changes with the issues they name, as far as the corpus holds those."""
    for change in documents.values():
        keys = change.extra.get("jira_keys") if change.source == _CHANGES else None
        issues = [documents[i] for key in keys or () if (i := f"{_ISSUES}:{key}") in documents]
        issues = [issue for issue in issues if issue.tenant == change.tenant]
        readers = set(change.acl).intersection(*(issue.acl for issue in issues))
        query = without_keys(f"{change.title}\n{_opening(change)}", keys or ())
        # a link that nobody may see both ends of teaches nobody's search
        if issues and readers and len(query.split()) >= _LEAST_WORDS:
            ids = tuple(issue.id for issue in issues)
            yield RetrievalPair(query, ids, "link", change.tenant, tuple(sorted(readers)))


def title_pairs(chunks: Iterable[Chunk]) -> Iterator[RetrievalPair]:
    """Titles with their documents; a title that stands alone, or says nothing, is none."""
    for chunk in chunks:
        says = chunk.text.strip() != chunk.title.strip()
        if chunk.ordinal == 0 and says and len(chunk.title.split()) >= _LEAST_WORDS:
            yield RetrievalPair(
                chunk.title, (chunk.document_id,), "title", chunk.tenant, tuple(sorted(chunk.acl))
            )


def question_pairs(
    pairs: Iterable[SftPair], documents: Mapping[str, Document]
) -> Iterator[RetrievalPair]:
    """Questions with the documents their answers come from.

    A question that names its document is found by the name, and would teach that words do not count.
    """
    for pair in pairs:
        ids = tuple(i for i in pair.document_ids if i in documents)
        usable = pair.origin == "feedback" or (pair.verified and pair.kind not in _NOT_ASKED)
        asked = pair.instruction.lower()
        if ids and usable and not any(i.partition(":")[2].lower() in asked for i in ids):
            kind: Kind = "feedback" if pair.origin == "feedback" else "question"
            query = pair.instruction[:_MOST_QUERY_CHARS]
            yield RetrievalPair(query, ids, kind, pair.tenant, tuple(sorted(pair.acl)))


def without_keys(text: str, keys: Sequence[str]) -> str:
    """The text without these keys and the links that end in them: what is left must say it."""
    for key in keys:
        text = re.sub(_KEY.format(re.escape(key)), " ", text, flags=re.IGNORECASE)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)[:_MOST_QUERY_CHARS].strip()


def split_pairs(
    pairs: Sequence[RetrievalPair], share: float, most: int, seed: int
) -> tuple[list[RetrievalPair], list[RetrievalPair]]:
    """(train, held out): no document of a held-out pair is the answer of a training pair.

    Held out are pairs that people made (links, questions, feedback), at most `most`: titles say
    little about how people search.
    """
    groups = _document_groups(pairs)
    order = sorted(groups, key=lambda name: text_digest(str(seed), name))
    asked = sum(pair.kind != "title" for pair in pairs)
    wanted = min(most, round(share * asked))
    held: list[RetrievalPair] = []
    taken: set[str] = set()
    for name in order:
        fresh = [pair for pair in groups[name] if pair.kind != "title"]
        if len(held) >= wanted:
            break
        if fresh and len(held) + len(fresh) <= wanted + len(fresh) // 2:
            held += fresh
            taken.add(name)
    train = [pair for name in order if name not in taken for pair in groups[name]]
    return train, held


def balanced(
    pairs: Sequence[RetrievalPair], title_ratio: float, most: int, seed: int
) -> list[RetrievalPair]:
    """What one training sees: all that people made, and titles in proportion; at most `most`."""
    chance = random.Random(seed)
    made = [pair for pair in pairs if pair.kind != "title"]
    titles = [pair for pair in pairs if pair.kind == "title"]
    chance.shuffle(made)
    chance.shuffle(titles)
    # a corpus without links and questions still has its titles
    room = round(title_ratio * len(made)) if made else len(titles)
    return [*made, *titles[:room]][:most]


def _document_groups(pairs: Sequence[RetrievalPair]) -> dict[str, list[RetrievalPair]]:
    """Pairs by the documents they share, over any chain."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for pair in pairs:
        for other in pair.documents[1:]:
            parent[root(other)] = root(pair.documents[0])
    groups: dict[str, list[RetrievalPair]] = defaultdict(list)
    for pair in pairs:
        groups[root(pair.documents[0])].append(pair)
    return dict(groups)


def _opening(change: Document) -> str:
    """What the author wrote: everything before the first section that a connector adds."""
    return re.split(r"^## ", change.text, maxsplit=1, flags=re.MULTILINE)[0]
