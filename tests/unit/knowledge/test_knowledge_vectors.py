from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.vectors import EXACT_FILE, VECTORS_FILE, Kind, Vectors

KINDS: tuple[Kind, ...] = ("flat", "ivf", "hnsw")


def unit_vectors(count: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered(count: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    """Like texts: many small groups of similar vectors."""
    centres = np.random.default_rng(77).normal(size=(200, dim))
    chance = np.random.default_rng(seed)
    vectors = centres[chance.integers(200, size=count)] + chance.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Vectors, np.ndarray]:
    data = unit_vectors(1500)
    Vectors.build(data, request.param).write(tmp_path)
    vectors = Vectors.open(tmp_path)
    assert vectors.kind == request.param
    return vectors, data


def tolerance(vectors: Vectors) -> float:
    """Cosines are exact where the index holds the vectors, else those of float16 ones."""
    return 1e-6 if vectors.kind == "flat" else 1e-4


def recall(ids: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(ids, truth, strict=True)]))


def test_search_finds_the_nearest_first(written: tuple[Vectors, np.ndarray]) -> None:
    vectors, data = written
    ids, cosines = vectors.search(data[:20], 5)
    assert (ids[:, 0] == np.arange(20)).all()
    assert np.allclose(cosines[:, 0], 1.0, atol=10 * tolerance(vectors))
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
    assert np.allclose(cosines[:, 0], expected.max(axis=1), atol=10 * tolerance(vectors))


def test_missing_results_are_marked(written: tuple[Vectors, np.ndarray]) -> None:
    vectors, data = written
    allowed = np.zeros(len(data), dtype=bool)
    assert (vectors.search(data[:1], 3, allowed)[0] == -1).all()
    allowed[7] = True
    assert vectors.search(data[:1], 3, allowed)[0].tolist() == [[7, -1, -1]]


def test_cosines_of_given_ids_are_exact(written: tuple[Vectors, np.ndarray]) -> None:
    vectors, data = written
    rows = np.array([3, 1400, 3])
    assert np.allclose(
        vectors.cosines(data[5], rows), data[rows] @ data[5], atol=tolerance(vectors)
    )


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01])
@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_what_an_exact_search_finds_is_found_whatever_is_allowed(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, share: float
) -> None:
    monkeypatch.setattr("alchemy.knowledge.vectors._EXACT_SCAN", 100)
    data = clustered(4000)
    vectors = Vectors.build(data, kind)
    allowed = np.random.default_rng(3).random(len(data)) < share
    queries = clustered(60, seed=9)
    ids, _ = vectors.search(queries, 10, allowed)
    assert allowed[ids].all()
    truth = np.argsort(-np.where(allowed, queries @ data.T, -2.0), axis=1)[:, :10]
    assert recall(ids, truth) > 0.95


def test_lists_are_used_again_while_the_size_is_alike(tmp_path: Path) -> None:
    data = clustered(3000)
    before = Vectors.build(data[:2000], "ivf")
    grown = Vectors.build(data, "ivf", previous=before)
    assert grown.count == 3000
    assert before.count == 2000
    ids, _ = grown.search(data[2900:2950], 1)
    assert (ids[:, 0] == np.arange(2900, 2950)).all()


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    Vectors.build(np.zeros((0, 8), dtype=np.float32), "ivf").write(tmp_path)
    assert (Vectors.open(tmp_path).search(unit_vectors(1, 8), 3)[0] == -1).all()


@pytest.mark.parametrize("name", [VECTORS_FILE, EXACT_FILE])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    Vectors.build(unit_vectors(600), "ivf").write(tmp_path)
    (tmp_path / name).write_bytes(b"not an index")
    with pytest.raises(AlchemyError, match="vectors") as raised:
        Vectors.open(tmp_path)
    assert raised.value.code is ErrorCode.CORRUPT
