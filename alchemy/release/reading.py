"""The reader of a release: what its scores mean here, and whether answers are better with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alchemy.finalist.abstention import PRIOR
from alchemy.finalist.evidence import Evidence, choose
from alchemy.finalist.fusion import Fusion
from alchemy.protocols import Reader
from alchemy.release.calibration import fit_logistic, pick_weight
from alchemy.release.metrics import token_f1
from alchemy.release.report import Asked, is_correct

ROLE = "reader"
"""Key of its digest in `Release.models`; absent where none is used."""
_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
"""Of the reader beside the other parts of a sentence's score, which together weigh 1."""


class KnownReadings:
    """A reader for `Fusion` that reads nothing twice."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[tuple[Any, ...], list[np.ndarray]] = {}

    async def __call__(
        self, question: str, texts: list[str], spans: list[list[tuple[int, int]]]
    ) -> list[np.ndarray]:
        """See `protocols.Reader.read`."""
        key = (question, tuple(texts), tuple(map(tuple, spans)))
        if key not in self._known:
            self._known[key] = self._reader.read(question, texts, spans)
        return self._known[key]


async def judge(
    calibration: Sequence[Asked], fusion: Fusion, digest: str
) -> tuple[dict[str, float], dict[str, Any]]:
    """The reader's numbers for a release, and what was found out about it.

    Its scores become probabilities that a sentence is right (a logistic fit on the calibration
    questions), and get the weight under which the chosen sentences come nearest to the answers
    that are known; 0 unless that is better by more than noise.

    Args:
        fusion: with the reader.

    Returns:
        `sentence.reader`, `reader.slope` and `reader.bias`; and `{digest, used, weights}`.
    """
    read: list[tuple[Asked, Evidence]] = []
    for item in calibration:
        if item.case.answerable:
            evidence = await fusion.evidence(item.case.question, item.passages, None)
            if evidence is not None:
                read.append((item, evidence))
    numbers = fit_reading([_labelled(item, evidence) for item, evidence in read])
    scores: dict[float, list[float]] = {weight: [] for weight in _WEIGHTS}
    for item, evidence in read:
        for weight in _WEIGHTS:
            thresholds = {**PRIOR, **numbers, "sentence.reader": weight, "draft_weight": 0.0}
            picked = choose(evidence, thresholds, "calibration").picked
            said = " ".join(candidate.unit.text for candidate in picked)
            scores[weight].append(token_f1(said, item.gold.response))
    weight, lines = pick_weight(scores)
    return (
        {**numbers, "sentence.reader": weight},
        {"digest": digest, "used": weight > 0, "weights": lines},
    )


def fit_reading(examples: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Slope and bias of a logistic model of the reader's scores; the prior where they tell nothing.

    Args:
        examples: for each question float32[n] scores and bool[n] whether a sentence is right.
    """
    prior = {name: PRIOR[name] for name in ("reader.slope", "reader.bias")}
    if not examples:
        return prior
    scores = np.concatenate([values for values, _ in examples]).astype(np.float64)
    right = np.concatenate([labels for _, labels in examples])
    if right.all() or not right.any() or scores[right].mean() <= scores[~right].mean():
        return prior  # nothing to learn from, or a reader that knows nothing here
    expected = np.array([prior["reader.slope"]])
    [slope], bias = fit_logistic(scores[:, None], right.astype(np.float64), expected)
    return {"reader.slope": round(float(slope), 4), "reader.bias": round(bias, 4)}


def _labelled(item: Asked, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    assert evidence.reading is not None
    right = [
        is_correct(item.case, candidate.unit.text, [evidence.passages[candidate.place].chunk])
        for candidate in evidence.candidates
    ]
    return evidence.reading, np.array(right, dtype=bool)
