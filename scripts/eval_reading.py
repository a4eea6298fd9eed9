"""Measure which sentence of the right passage is chosen: `python scripts/eval_reading.py`.

SQuAD 2.0 dev, answerable questions with their paragraph. A choice is right when the sentence holds
the answer. `present` is the finalist's score without the reader, `reader` the reader's alone,
`present+reader` both with a weight of 1. Nothing is fitted here: a release fits what the reader's
score is worth on its own questions, and takes the prior where it has none.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from eval_retrieval import DATA
from retrieval_metrics import interval

from alchemy.config import ModelSettings, ReaderSettings
from alchemy.finalist.abstention import PRIOR
from alchemy.finalist.evidence import Evidence, candidates
from alchemy.models.registry import load_embedder, load_reader
from alchemy.types import Chunk, Passage

ABLATED = ("semantic", "lexical", "rank", "shape")


@dataclass(frozen=True)
class Choice:
    """One question: candidates' scores and which of them hold the answer."""

    evidence: Evidence
    right: np.ndarray


def choices(articles: list[Any], limit: int, embedder: Any, reader: Any) -> list[Choice]:
    """Questions of these articles, with the sentences of their paragraph scored."""
    made: list[Choice] = []
    for paragraph in (p for article in articles for p in article["paragraphs"]):
        text = paragraph["context"]
        passages = [Passage(_chunk(text), score=1.0, similarity=0.5)]
        for asked in paragraph["qas"]:
            if asked["is_impossible"]:
                continue
            question, found = candidates(asked["question"], passages)
            spans = [(c.unit.start, c.unit.end) for c in found]
            right = np.array([_holds(asked["answers"], *span) for span in spans], dtype=bool)
            if len(found) < 2 or not right.any():  # nothing to choose, or an answer over two
                continue
            vectors = embedder.encode([asked["question"], *(c.unit.text for c in found)])
            semantic = vectors[1:] @ vectors[0]
            [reading] = reader.read(asked["question"], [text], [spans])
            nothing = np.zeros(len(found), dtype=np.float32)
            evidence = Evidence(
                question, passages, found, vectors[1:], semantic, nothing, np.asarray(reading)
            )
            made.append(Choice(evidence, right))
            if len(made) == limit:
                return made
    return made


def chosen_right(given: list[Choice], thresholds: dict[str, float]) -> np.ndarray:
    """float64[questions]: 1 where the best sentence under these thresholds is right."""
    return np.array(
        [float(c.right[c.evidence.facts(thresholds, "evaluation").argmax()]) for c in given]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--questions", type=int, default=900, help="measured")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    path = options.data / "squad2_dev" / "dev-v2.0.json"
    articles = json.loads(path.read_text("utf-8"))["data"]
    for article in articles:
        random.Random(options.seed).shuffle(article["paragraphs"])
    random.Random(options.seed).shuffle(articles)
    embedder, reader = load_embedder(ModelSettings()), load_reader(ReaderSettings())
    given = choices(articles, options.questions, embedder, reader)
    alone = {f"sentence.{name}": 0.0 for name in ABLATED}
    scores = {
        "present": chosen_right(given, {**PRIOR, "sentence.reader": 0.0}),
        "reader": chosen_right(given, {**PRIOR, **alone, "sentence.reader": 1.0}),
        "present+reader": chosen_right(given, {**PRIOR, "sentence.reader": 1.0}),
    }
    report: dict[str, Any] = {"questions": len(given), "modes": {}}
    sentences = np.mean([len(c.right) for c in given])
    print(f"{len(given)} questions, {sentences:.1f} sentences each")
    for mode, values in scores.items():
        own, gain = (
            interval(values, options.seed),
            interval(values - scores["present"], options.seed),
        )
        report["modes"][mode] = {"right": own, "difference": gain}
        print(
            f"{mode:>16} {own['value']:.3f} [{own['low']:.3f}, {own['high']:.3f}]   "
            f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
        )
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _holds(answers: list[Any], start: int, end: int) -> bool:
    return any(
        start <= answer["answer_start"] and answer["answer_start"] + len(answer["text"]) <= end
        for answer in answers
    )


def _chunk(text: str) -> Chunk:
    return Chunk(
        id="documents:squad#0",
        document_id="documents:squad",
        source="documents",
        title="",
        uri="",
        tenant="default",
        acl=(),
        text=text,
        ordinal=0,
        start=0,
        end=len(text),
    )


if __name__ == "__main__":
    main()
