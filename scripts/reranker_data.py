"""Questions and passages that `train_reranker.py` learns from and is measured on.

From `../shared/data`, of what its README does not mark for evaluation: Jira issues without the
Spring XD project, and enterprisebench. Whole projects are held out. Each document gives one
question, which is then taken out of it: its title, a sentence in some form that people ask in, or
the first message of a conversation.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eval_retrieval import Evaluation
from retrieval_sets import TENANT, Question, RetrievalSet, made_document

from alchemy.finalist.sentences import units
from alchemy.finalist.terms import content_words
from alchemy.knowledge.search import Query, search
from alchemy.types import PUBLIC_GROUP, Document, Principal

DEVELOPMENT, TEST = "moodle", "mesos"
"""Held-out projects: the first decides every choice, the second is looked at once."""
_EXCLUDED = ("springxd",)
"""What the evaluation sets are about."""
_FEWEST_SENTENCES = 3
_LEAST_WORDS = 4
_ASKED_WORDS = ("how", "why", "when", "what", "where", "which", "does", "can")
_CHAT_TURN = re.compile(r"\n\s*\n(?=[A-Z][A-Z .']{2,40}:)")


@dataclass(frozen=True)
class Item:
    """A question with what hybrid search found for it.

    Attributes:
        texts: embedding texts of the passages, best first, each document once.
        fused: their scores.
        right: place of the right one; -1 when it was not found.
    """

    question: str
    texts: tuple[str, ...]
    fused: tuple[float, ...]
    right: int


def projects(data: Path) -> list[str]:
    """Names of the training sets; the held-out projects are not among them."""
    held = {DEVELOPMENT, TEST, *_EXCLUDED}
    names = sorted(path.stem for path in (data / "jira_gpt2sp").glob("*.csv"))
    return [*(name for name in names if name not in held), "posts", "chats", "tickets"]


def items(evaluation: Evaluation, data: Path, name: str, limit: int, depth: int) -> list[Item]:
    """Questions of one set with the passages that the product's own search finds for them."""
    found = set_of(data, name, limit)
    index = evaluation.index_of(found)
    vectors = evaluation.embedder.encode([question.text for question in found.questions])
    reader = Principal("trainer", TENANT, (PUBLIC_GROUP,))
    queries = [
        Query(question.text, vector, reader, 2 * depth)
        for question, vector in zip(found.questions, vectors, strict=True)
    ]
    made: list[Item] = []
    results = search(index.snapshot, queries, evaluation.settings.retrieval)
    for question, passages in zip(found.questions, results, strict=True):
        best: dict[str, tuple[str, float]] = {}
        for passage in passages:
            chunk = passage.chunk
            best.setdefault(chunk.document_id, (chunk.embedding_text(), passage.score))
        kept = list(best.items())[:depth]
        right = [n for n, (document, _) in enumerate(kept) if document in question.relevant]
        texts, fused = zip(*(value for _, value in kept), strict=True)
        made.append(Item(question.text, texts, fused, right[0] if right else -1))
    return made


def set_of(data: Path, name: str, limit: int) -> RetrievalSet:
    """At most `limit` documents of one set, each with a question that was taken out of it."""
    chance = random.Random(f"reranker {name}")
    records = list(_records(data, name))
    chance.shuffle(records)
    documents: list[Document] = []
    questions: list[Question] = []
    for title, text, question in records:
        asked = question or _taken_out(title, text, chance)
        if asked is None:
            continue
        title, text, asked_text = (title, text, question) if question else asked
        identity = f"{name}:{len(documents)}"
        documents.append(made_document(identity, text, title))
        questions.append(Question(identity, asked_text, frozenset({identity})))
        if len(documents) == limit:
            break
    return RetrievalSet(f"reranker-{name}", f"reranker-{name}", tuple(documents), tuple(questions))


def _taken_out(title: str, text: str, chance: random.Random) -> tuple[str, str, str] | None:
    """Title, text and question, of which the last is in neither of the others."""
    if chance.random() < 0.5:
        return ("", text, title) if len(title.split()) >= _LEAST_WORDS else None
    sentences = [unit for unit in units(text) if unit.kind in ("prose", "item")]
    if len(sentences) < _FEWEST_SENTENCES:
        return None
    chosen = chance.choice(sentences)
    words = chosen.text.split()
    if not _LEAST_WORDS <= len(words) <= 40:
        return None
    return title, f"{text[: chosen.start]} {text[chosen.end :]}", _asked(chosen.text, chance)


def _asked(sentence: str, chance: random.Random) -> str:
    """The sentence, its telling words, or a crude question about them."""
    form = chance.random()
    telling = [word for word in sentence.split() if content_words(word)]
    if form < 0.3 or len(telling) < _LEAST_WORDS:
        return sentence
    size = chance.randint(3, min(9, len(telling)))
    start = chance.randint(0, len(telling) - size)
    kept = telling[start : start + size]
    if form < 0.6:
        return " ".join(kept)
    return f"{chance.choice(_ASKED_WORDS)} {' '.join(kept).rstrip('.,;:!?')}?"


def _records(data: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """Title, text and question; an empty question is made of the others."""
    company = data / "enterprisebench"
    if name == "posts":
        for post in json.loads((company / "posts.json").read_text("utf-8")):
            yield post["Title"], post["Post"], ""
    elif name == "tickets":
        for ticket in json.loads((company / "it_tickets.json").read_text("utf-8")):
            yield "", ticket["Resolution"], ticket["Issue"]
    elif name == "chats":
        for chat in json.loads((company / "customer_support_chats.json").read_text("utf-8")):
            transcript = chat["text"].replace("```", "").strip()
            first, *rest = _CHAT_TURN.split(transcript)
            if rest:
                yield chat["product_name"], "\n\n".join(rest), first.partition(":")[2].strip()
    else:
        csv.field_size_limit(1 << 27)
        path = data / "jira_gpt2sp" / f"{name}.csv"
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                if len(row["description"] or "") > 100:
                    yield row["title"], row["description"], ""
