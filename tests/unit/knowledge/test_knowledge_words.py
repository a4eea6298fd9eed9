from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alchemy.knowledge.words import K1, B, Span, Words, WordsBuilder


def built(path: Path, texts: list[str]) -> tuple[Words, dict[str, Span]]:
    builder = WordsBuilder()
    for text in texts:
        builder.add(Counter(text.split()))
    spans = {span.term: span for span in builder.write(path)}
    return Words.open(path), spans


def brute_force(texts: list[str], question: list[str]) -> np.ndarray:
    """BM25 written down as in the literature, text by text."""
    counts = [Counter(text.split()) for text in texts]
    average = sum(map(len, (text.split() for text in texts))) / len(texts)
    scores = np.zeros(len(texts))
    for term in set(question):
        holding = sum(term in count for count in counts)
        if not holding:
            continue
        idf = np.log1p((len(texts) - holding + 0.5) / (holding + 0.5))
        for row, count in enumerate(counts):
            norm = K1 * (1 - B + B * sum(count.values()) / average)
            scores[row] += idf * count[term] / (count[term] + norm)
    return scores


texts_of_few_words = st.lists(
    st.lists(st.sampled_from("abcdefg"), max_size=12).map(" ".join), min_size=1, max_size=40
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    texts=texts_of_few_words.filter(lambda texts: any(texts)),
    question=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5),
    forbidden=st.sets(st.integers(0, 39)),
    limit=st.integers(1, 8),
)
def test_the_best_are_those_of_the_formula(
    tmp_path: Path, texts: list[str], question: list[str], forbidden: set[int], limit: int
) -> None:
    words, spans = built(tmp_path / "words", texts)
    allowed = np.array([row not in forbidden for row in range(len(texts))])
    asked = [spans[term] for term in set(question) if term in spans]
    rows, scores = words.best(asked, limit, allowed)
    expected = np.where(allowed, brute_force(texts, question), 0.0)
    order = [row for row in np.lexsort((range(len(texts)), -expected)) if expected[row] > 0]
    assert np.allclose(scores, expected[order[:limit]], atol=1e-4)
    assert np.allclose(expected[rows], scores, atol=1e-4)
    assert np.allclose(
        words.scores(asked, np.arange(len(texts))[::-1]),
        brute_force(texts, question)[::-1],
        atol=1e-4,
    )


@pytest.mark.parametrize("share", [1.0, 0.01])
def test_common_words_are_passed_over_without_changing_the_result(
    tmp_path: Path, share: float
) -> None:
    chance = np.random.default_rng(5)
    texts = [
        " ".join(f"w{int(number)}" for number in chance.zipf(1.3, size=12) if number < 5000)
        for _ in range(12_000)
    ]
    words, spans = built(tmp_path / "words", texts)
    allowed = chance.random(len(texts)) < share
    question = ["w1", "w2", "w3", "w40", "w700", "w4000"]
    asked = [spans[term] for term in question if term in spans]
    assert max(span.count for span in asked) > 4096
    rows, scores = words.best(asked, 20, allowed)
    expected = np.where(allowed, brute_force(texts, question), 0.0)
    assert allowed[rows].all()
    assert np.allclose(scores, np.sort(expected)[::-1][: len(scores)], atol=1e-4)
    assert len(rows) == min(20, np.count_nonzero(expected))


def test_nothing_matches_nothing(tmp_path: Path) -> None:
    words, spans = built(tmp_path / "words", ["a b", "c"])
    assert words.best([], 5)[0].tolist() == []
    assert words.best([spans["a"]], 5, np.array([False, True]))[0].tolist() == []
    assert words.bound([]) == 0


def test_an_index_of_no_text_is_empty(tmp_path: Path) -> None:
    words, spans = built(tmp_path / "words", [])
    assert (words.count, spans) == (0, {})
    assert words.best([], 5)[0].tolist() == []
