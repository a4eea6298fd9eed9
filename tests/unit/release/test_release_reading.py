"""A reader is used where the answers come nearer to the known ones with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from release_world import World, chunks, pairs

from alchemy.finalist.abstention import PRIOR
from alchemy.protocols import Reader
from alchemy.release import evaluate
from alchemy.release.reading import fit_reading
from alchemy.types import SftPair, text_digest


def vague(pair: SftPair) -> str:
    """What no word of the question is in: only a reader can know that it answers."""
    return f"It is {int(text_digest(pair.id)[:4], 16)} since some time."


@pytest.fixture
def ambiguous(world: World) -> World:
    """A company whose sentences do not say what they are about."""
    asked = pairs()
    world.publish_pairs([replace(pair, response=vague(pair)) for pair in asked])
    texts = {
        chunk.document_id: " ".join(
            vague(pair) for pair in asked if pair.document_ids == (chunk.document_id,)
        )
        for chunk in chunks()
    }
    world.publish_index(
        [
            replace(c, text=text, end=len(text), content_hash=text_digest(text))
            for c in chunks()
            for text in (texts[c.document_id],)
        ]
    )
    return world


class Knowing:
    """Knows which sentence answers; the sign says whether it tells the truth."""

    digest = "k" * 64

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._right = {pair.instruction: {pair.response, vague(pair)} for pair in pairs()}

    def read(
        self, question: str, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> list[np.ndarray]:
        right = self._right.get(question, set())
        return [
            self._sign * np.array([0.8 if t[a:b] in right else 0.2 for a, b in own], np.float32)
            for t, own in zip(texts, spans, strict=True)
        ]


def evaluated(world: World, reader: Reader | None) -> dict[str, Any]:
    candidate = replace(world.candidate(), reader=reader)
    receipt = evaluate.run(world.context("evaluate"), candidate)
    return json.loads(world.lake.read(f"{receipt.uri}/evaluation.json"))


def test_a_reader_that_knows_is_used_and_named(ambiguous: World) -> None:
    report = evaluated(ambiguous, Knowing(1.0))
    assert report["reader"]["used"] is True
    assert report["models"]["reader"] == Knowing.digest
    assert report["thresholds"]["sentence.reader"] > 0
    gains = {line["weight"]: line["gain"] for line in report["reader"]["weights"]}
    assert gains[report["thresholds"]["sentence.reader"]] > 0.005


def test_a_reader_that_misleads_is_left_out(world: World) -> None:
    report = evaluated(world, Knowing(-1.0))
    assert report["reader"]["used"] is False
    assert "reader" not in report["models"]
    assert report["thresholds"]["sentence.reader"] == 0.0
    without = evaluated(world, None)
    assert without["answers"] == report["answers"]


def test_scores_become_probabilities_of_being_right() -> None:
    chance = np.random.default_rng(3)
    labels = chance.random(400) < 0.3
    scores = np.where(labels, 0.7, 0.5) + chance.normal(0, 0.1, 400)
    numbers = fit_reading([(scores.astype(np.float32), labels)])
    chances = 1 / (1 + np.exp(-(numbers["reader.slope"] * scores + numbers["reader.bias"])))
    assert abs(chances.mean() - 0.3) < 0.02
    assert chances[labels].mean() > chances[~labels].mean() + 0.2


def test_without_both_kinds_of_sentences_the_prior_stays() -> None:
    prior = {name: PRIOR[name] for name in ("reader.slope", "reader.bias")}
    assert fit_reading([]) == prior
    scores = np.array([0.1, 0.9], dtype=np.float32)
    assert fit_reading([(scores, np.array([True, True]))]) == prior
    assert fit_reading([(scores, np.array([True, False]))]) == prior
