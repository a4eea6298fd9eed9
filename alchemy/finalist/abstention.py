"""Confidence: the calibrated probability that the evidence answers the question.

A logistic model over a few features of the evidence. Its coefficients are numbers of the release
(`conf.bias`, `conf.<feature>`), fitted by the evaluate stage, with the threshold `abstain` below
which the answer is a refusal. The draft has no part in it: intuition does not make a fact surer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Passage


@dataclass(frozen=True)
class Features:
    """What the confidence is computed from, each about 0…1, higher is better evidence.

    Attributes:
        sentence: score of the best sentence, without the draft's share.
        semantic: cosine of question and best sentence.
        passage: cosine of question and the passage of the best sentence.
        coverage: weighted share of the question's words in the chosen sentences and their headings.
        margin: lead of the best sentence over the best of another document.
        agreement: share of the passages with a sentence nearly as good as the best.
        known: share of the question's words that occur anywhere in the passages.
        named: share of the question's identifiers (`XD-123`) that the cited chunks hold.
        exact: 1 when the question names the best sentence's document or section.
    """

    sentence: float
    semantic: float
    passage: float
    coverage: float
    margin: float
    agreement: float
    known: float
    named: float
    exact: float

    def values(self) -> tuple[float, ...]:
        """In the order of `FEATURES`."""
        return tuple(asdict(self).values())


FEATURES = tuple(field.name for field in fields(Features))

PRIOR: dict[str, float] = {
    # Used only by the evaluator, to have something to calibrate from: sentence weights found by
    # hand on the sample company, a confidence that mostly follows coverage and similarity.
    "abstain": 0.5,
    "draft_weight": 0.1,
    "keep": 0.88,
    "sentence.semantic": 0.4,
    "sentence.lexical": 0.3,
    "sentence.rank": 0.15,
    "sentence.shape": 0.15,
    "sentence.reader": 0.0,
    "reader.slope": 20.0,
    "reader.bias": -12.0,
    "conf.bias": -7.0,
    "conf.sentence": 3.0,
    "conf.semantic": 2.0,
    "conf.passage": 2.0,
    "conf.coverage": 3.0,
    "conf.margin": 1.0,
    "conf.agreement": 0.0,
    "conf.known": 1.0,
    "conf.named": 1.0,
    "conf.exact": 2.0,
}


def threshold(thresholds: Mapping[str, float], name: str, release: str) -> float:
    """A number of the release; CORRUPT when the release does not have it."""
    try:
        return thresholds[name]
    except KeyError as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"release {release!r} has no threshold {name!r}",
            "Run the stages evaluate and release again.",
        ) from error


def confidence(features: Features, thresholds: Mapping[str, float], release: str) -> float:
    """Probability in [0, 1] that the chosen evidence answers the question."""
    z = threshold(thresholds, "conf.bias", release)
    for name, value in zip(FEATURES, features.values(), strict=True):
        z += threshold(thresholds, f"conf.{name}", release) * value
    return 1.0 / (1.0 + math.exp(-max(min(z, 60.0), -60.0)))


def refusal(passages: Sequence[Passage], closest: Passage | None) -> str:
    """What an abstained answer says: what was searched, and the closest source as `[1]`."""
    if not passages or closest is None:
        return "I found nothing about this in the sources you may read."
    documents = {passage.chunk.document_id for passage in passages}
    by_source = Counter(document.partition(":")[0] for document in sorted(documents))
    searched = ", ".join(f"{source} ({count})" for source, count in sorted(by_source.items()))
    number = len(documents)
    return (
        "I do not know: the sources you may read do not clearly answer this. "
        f"I looked closely at {number} document{'s' if number > 1 else ''}: {searched}. "
        f"The closest is “{_one_line(closest.chunk.title)}” ({closest.chunk.document_id}). [1]"
    )


def _one_line(title: str) -> str:
    return " ".join(title.replace("[", "(").replace("]", ")").split())
