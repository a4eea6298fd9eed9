"""Comparing candidate pairs in groups gives what comparing each pair by itself gives."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from alchemy.cleaning import dedup, pairing
from alchemy.cleaning.parts import Job, Parts
from alchemy.config import CleaningSettings, LakeSettings, Settings

JOB = Job(
    Parts(LakeSettings(), "test"), Settings(cleaning=CleaningSettings(near_duplicate_jaccard=0.6))
)


def clusters(sizes: list[int], seed: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Pairs of records inside each cluster, and the shingles of every record."""
    random = np.random.default_rng(seed)
    pairs: list[tuple[int, int]] = []
    sets: dict[int, np.ndarray] = {}
    places = random.permutation(1 << 20)[: sum(sizes)] * 7919
    for size in sizes:
        own, places = places[:size], places[size:]
        base = random.integers(-(1 << 62), 1 << 62, 60)
        for place in own.tolist():
            kept = base[random.random(60) < random.uniform(0.7, 1)]
            sets[place] = np.unique(np.append(kept, random.integers(0, 1 << 62)).view(np.uint64))
        for later in range(1, size):
            some = random.choice(later, min(later, random.integers(1, 6)), replace=False)
            pairs += [(int(own[earlier]), int(own[later])) for earlier in some]
    return random.permutation(np.array(pairs)), sets


def rows(groups: pairing.Groups, sets: dict[int, np.ndarray]) -> list[dict]:
    return [
        {
            "group": number,
            "place": place,
            "partners": groups.partners[start:stop].tolist(),
            "shingles": sets[place].view(np.int64).tolist(),
        }
        for place, number, start, stop in zip(
            groups.places.tolist(),
            groups.numbers.tolist(),
            groups.starts[:-1],
            groups.starts[1:],
            strict=True,
        )
    ]


def grouped(pairs: np.ndarray) -> pairing.Groups:
    """The groups of pairs of places whose record order is that of the first appearance."""
    in_order = np.array(list(dict.fromkeys(pairs.ravel().tolist())))
    position = {place: n for n, place in enumerate(in_order.tolist())}
    return pairing.grouped(np.vectorize(position.__getitem__)(pairs), in_order)


@pytest.mark.parametrize("size", [1, 4, 64])
@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_groups_find_the_pairs_that_comparing_one_by_one_finds(
    size: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "GROUP_RECORDS", size)
    monkeypatch.setattr(pairing, "_VALUES", 500)
    pairs, sets = clusters([2, 2, 3, 40, 5, 130, 2, 9], size + batch)
    table = pa.Table.from_pylist(
        sorted(rows(grouped(pairs), sets), key=lambda row: row["group"]), pairing.SIDE
    )
    found = [
        (row["first"], row["second"], row["similarity"])
        for one in pairing.similar(JOB, iter(table.to_batches(batch)))
        for row in one.to_pylist()
    ]
    alike = [
        (a, b, similarity)
        for a, b in pairs.tolist()
        if (similarity := dedup.jaccard(sets[a], sets[b])) >= 0.6
    ]
    assert len(pairs) // 10 < len(alike) < len(pairs)
    assert sorted(found) == sorted(alike)


def test_a_record_is_sent_once_where_clusters_are_small_and_groups_stay_small() -> None:
    small, _ = clusters([7] * 300, 3)
    groups = grouped(small)
    assert len(groups.places) == 7 * 300
    assert max(Counter(groups.numbers.tolist()).values()) <= 2 * pairing.GROUP_RECORDS
    large, _ = clusters([5000], 4)
    groups = grouped(large)
    assert max(Counter(groups.numbers.tolist()).values()) <= 2 * pairing.GROUP_RECORDS
    assert len(groups.places) < 2 * len(large), "never more than both sides of each pair"
    assert sorted(groups.partners.tolist()) == sorted(large[:, 0].tolist())


def test_one_large_bucket_sends_a_record_to_few_groups_whatever_its_place() -> None:
    """Where the order of records and that of their places differ."""
    in_order = np.random.default_rng(2).permutation(6000) * 31
    pairs = np.stack(dedup.bucket_pairs(len(in_order)), axis=1)
    groups = pairing.grouped(pairs, in_order)
    assert len(groups.places) < 4 * len(in_order)
    assert (np.diff(groups.places) >= 0).all()
