from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.vectors import Vectors

KINDS = {"flat": 10_000, "graph": 10}


def unit_vectors(count: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Vectors, np.ndarray]:
    data = unit_vectors(1500)
    path = tmp_path / "vectors.faiss"
    Vectors.build(data, flat_limit=KINDS[request.param]).write(path)
    return Vectors.open(path), data


def test_search_finds_the_nearest_first(written: tuple[Vectors, np.ndarray]) -> None:
    vectors, data = written
    ids, cosines = vectors.search(data[:20], 5)
    assert (ids[:, 0] == np.arange(20)).all()
    assert np.allclose(cosines[:, 0], 1.0, atol=1e-5)
    assert (np.diff(cosines, axis=1) <= 1e-6).all()


def test_search_returns_only_allowed_vectors_and_as_many_as_asked(
    written: tuple[Vectors, np.ndarray],
) -> None:
    vectors, data = written
    allowed = np.zeros(len(data), dtype=bool)
    allowed[np.random.default_rng(1).choice(len(data), 12, replace=False)] = True
    ids, cosines = vectors.search(data[:30], 10, allowed)
    assert allowed[ids].all()
    expected = np.where(allowed, data[:30] @ data.T, -2.0)
    assert np.allclose(cosines[:, 0], expected.max(axis=1), atol=1e-5)


def test_missing_results_are_marked(written: tuple[Vectors, np.ndarray]) -> None:
    vectors, data = written
    allowed = np.zeros(len(data), dtype=bool)
    assert (vectors.search(data[:1], 3, allowed)[0] == -1).all()
    allowed[7] = True
    assert vectors.search(data[:1], 3, allowed)[0].tolist() == [[7, -1, -1]]


def test_cosines_of_given_ids_are_exact(written: tuple[Vectors, np.ndarray]) -> None:
    vectors, data = written
    rows = np.array([3, 1400, 3])
    assert np.allclose(vectors.cosines(data[5], rows), data[rows] @ data[5], atol=1e-6)


def test_a_large_allowed_part_of_a_graph_is_searched_with_good_recall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alchemy.knowledge.vectors._EXACT_SCAN", 100)
    data = unit_vectors(3000)
    vectors = Vectors.build(data, flat_limit=10)
    allowed = np.arange(len(data)) % 2 == 0
    ids, _ = vectors.search(data[:50], 10, allowed)
    assert allowed[ids].all()
    truth = np.argsort(-np.where(allowed, data[:50] @ data.T, -2.0), axis=1)[:, :10]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, truth, strict=True)])
    assert recall > 0.95


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.faiss"
    Vectors.build(np.zeros((0, 8), dtype=np.float32)).write(path)
    assert (Vectors.open(path).search(unit_vectors(1, 8), 3)[0] == -1).all()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "vectors.faiss"
    path.write_bytes(b"not an index")
    with pytest.raises(AlchemyError, match="vectors") as raised:
        Vectors.open(path)
    assert raised.value.code is ErrorCode.CORRUPT
