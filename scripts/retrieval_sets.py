"""The sets that `eval_retrieval.py` measures on: documents, questions and what answers them.

Loaded from the folder of public data (`../shared/data`; its README names sources and licences).
Nothing of these sets may be used to choose a setting.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alchemy.cleaning.reading import clean
from alchemy.config import Settings
from alchemy.connectors.jira import read_issue
from alchemy.connectors.records import RawUnit
from alchemy.types import PUBLIC_GROUP, Document

TENANT = "default"
_KEY = re.compile(r"(?:https?://\S*/browse/)?\b[A-Z][A-Z0-9]+-\d+\b|https?://\S*/browse/?", re.I)
_SPRINGXD_KEY = re.compile(r"\bXD[-_ ]?\d+\b", re.I)


@dataclass(frozen=True)
class Question:
    """A query and the documents that answer it.

    Attributes:
        relevant: document ids; never empty.
    """

    id: str
    text: str
    relevant: frozenset[str]


@dataclass(frozen=True)
class RetrievalSet:
    """Documents and the questions about them; sets with the same `corpus` share one index."""

    name: str
    corpus: str
    documents: tuple[Document, ...]
    questions: tuple[Question, ...]


def springxd(data: Path) -> RetrievalSet:
    """Commit message → Jira issue. Commits are not indexed; keys are taken out of the messages.

    The link to the tracker in which a key stands goes with it. A message that says nothing else
    is no query.
    """
    unit, settings = RawUnit("jira", "raw/jira/springxd.csv"), Settings()
    with (data / "springxd" / "jira_issues.csv").open(encoding="utf-8", newline="") as file:
        records = [
            {"key": row["issuekey"], "summary": row["title"], "description": row["description"]}
            for row in csv.DictReader(file)
        ]
    documents = [clean(read_issue(unit, settings, record, {}))[0] for record in records]
    known = {document.id for document in documents}
    questions: list[Question] = []
    for commit in _lines(data / "springxd" / "commits.jsonl"):
        relevant = frozenset(f"jira:{key}" for key in commit["known_keys"]) & known
        text = without_keys(f"{commit['subject']}\n{commit['body']}")
        if relevant and re.search(r"[A-Za-z]", text):
            questions.append(Question(commit["sha"][:12], text, relevant))
    return RetrievalSet("springxd", "springxd", tuple(documents), tuple(questions))


def without_keys(text: str) -> str:
    """A commit message without issue keys and links to them."""
    text = _SPRINGXD_KEY.sub(" ", _KEY.sub(" ", text))
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()


def squad(data: Path) -> RetrievalSet:
    """Answerable question → paragraph; each distinct paragraph is a document without a title."""
    articles = json.loads((data / "squad2_dev" / "dev-v2.0.json").read_text("utf-8"))["data"]
    places: dict[str, str] = {}
    questions: list[Question] = []
    for paragraph in (p for article in articles for p in article["paragraphs"]):
        place = places.setdefault(paragraph["context"], f"documents:p{len(places)}")
        questions += [
            Question(entry["id"], entry["question"], frozenset({place}))
            for entry in paragraph["qas"]
            if not entry["is_impossible"]
        ]
    documents = [made_document(place, text) for text, place in places.items()]
    return RetrievalSet("squad", "squad", tuple(documents), tuple(questions))


def mtrag(data: Path) -> RetrievalSet:
    """Last turn of a conversation → passage, on all passages of the newer reference tasks."""
    tasks = list(_lines(data / "mtrag" / "mtragun_reference.jsonl"))
    asked = {
        task["task_id"]: [t["text"] for t in task["input"] if t["speaker"] == "user"][-1]
        for task in tasks
    }
    passages = _passages(context for task in tasks for context in task["contexts"])
    return _judged("mtrag", "mtrag", passages, asked, _judgements(data, "mtragun_qrels"))


def mtrag_last(data: Path) -> RetrievalSet:
    """The last turns of the tasks that were also rewritten, as they were typed."""
    return _rewritten(data, "mtrag-last", "lastturn")


def mtrag_rewritten(data: Path) -> RetrievalSet:
    """The same turns, rewritten by people into questions that stand alone."""
    return _rewritten(data, "mtrag-rewritten", "rewrite")


LOADERS: Mapping[str, Callable[[Path], RetrievalSet]] = {
    "springxd": springxd,
    "squad": squad,
    "mtrag": mtrag,
    "mtrag-last": mtrag_last,
    "mtrag-rewritten": mtrag_rewritten,
}


def folds_by_document(questions: Iterable[Question], folds: int, seed: int) -> dict[str, int]:
    """Question id → fold; questions that share a document, over any chain, are in one fold."""
    import random

    parent: dict[str, str] = {}

    def root(document: str) -> str:
        while parent.setdefault(document, document) != document:
            document = parent[document]
        return document

    listed = list(questions)
    for question in listed:
        first, *others = sorted(question.relevant)
        for other in others:
            parent[root(other)] = root(first)
    roots = sorted({root(min(question.relevant)) for question in listed})
    random.Random(seed).shuffle(roots)
    fold_of = {name: place % folds for place, name in enumerate(roots)}
    return {question.id: fold_of[root(min(question.relevant))] for question in listed}


def _rewritten(data: Path, name: str, form: str) -> RetrievalSet:
    """The older tasks whose passages are all at hand, on all passages of both references.

    The data holds no complete corpus of theirs: a task with a missing passage has no fair rank.
    """
    root = data / "mtrag"
    newer = _lines(root / "mtragun_reference.jsonl")
    older = json.loads((root / "mtrag_reference_subset_human_eval.json").read_text("utf-8"))
    contexts = [context for task in newer for context in task["contexts"]]
    passages = _passages([*contexts, *older["documents"]])
    asked = {
        entry["_id"]: entry["text"].replace("|user|:", " ").strip()
        for path in sorted(root.glob(f"retrieval/*/{form}.jsonl"))
        for entry in _lines(path)
    }
    judgements = {
        task: relevant
        for task, relevant in _judgements(data, "qrels").items()
        if all(passage in passages for passage in relevant)
    }
    return _judged(name, "mtrag-both", passages, asked, judgements)


def _judged(
    name: str,
    corpus: str,
    passages: Mapping[str, str],
    asked: Mapping[str, str],
    judgements: Mapping[str, set[str]],
) -> RetrievalSet:
    places = {passage: f"documents:p{number}" for number, passage in enumerate(passages)}
    documents = [made_document(places[passage], text) for passage, text in passages.items()]
    questions = [
        Question(task, asked[task], frozenset(places[passage] for passage in relevant))
        for task, relevant in judgements.items()
    ]
    return RetrievalSet(name, corpus, tuple(documents), tuple(questions))


def _passages(contexts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {context["document_id"]: context["text"] for context in contexts}


def _judgements(data: Path, name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((data / "mtrag" / "retrieval").glob(f"*/{name}.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if int(row["score"]) > 0:
                    found[row["query-id"]].add(row["corpus-id"])
    return found


def made_document(identity: str, text: str, title: str = "") -> Document:
    """A public document that went the product's way of cleaning."""
    return clean(
        Document(
            id=identity,
            source="documents",
            title=title,
            text=text,
            uri=identity,
            tenant=TENANT,
            acl=(PUBLIC_GROUP,),
        )
    )[0]


def _lines(path: Path) -> Iterable[Any]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
