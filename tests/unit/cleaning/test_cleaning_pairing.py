"""Comparing candidate pairs in groups gives what comparing each pair by itself gives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from alchemy.cleaning import dedup, pairing
from alchemy.cleaning.parts import Job, Parts, read_table
from alchemy.cleaning.reading import PLACE_BITS
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


def members(pairs: np.ndarray, in_order: np.ndarray) -> pa.Table:
    """Schema MEMBER; of each record all of its memberships are in one of the tables."""
    tables = [groups.to_table() for groups in pairing.grouped(pairs, in_order)]
    units = [set((table["place"].to_numpy() >> PLACE_BITS).tolist()) for table in tables]
    assert sum(map(len, units)) == len(set().union(*units))
    return pa.concat_tables(tables)


def grouped(pairs: np.ndarray) -> pa.Table:
    """The groups of pairs of places whose record order is that of the first appearance."""
    in_order = np.array(list(dict.fromkeys(pairs.ravel().tolist())))
    position = {place: n for n, place in enumerate(in_order.tolist())}
    return members(np.vectorize(position.__getitem__)(pairs), in_order)


def largest(groups: pa.Table) -> int:
    """Records of the largest group."""
    return max(Counter(groups["group"].to_pylist()).values())


@pytest.mark.parametrize("size", [1, 4, 64])
@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_groups_find_the_pairs_that_comparing_one_by_one_finds(
    size: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "GROUP_RECORDS", size)
    monkeypatch.setattr(pairing, "_VALUES", 500)
    monkeypatch.setattr(pairing, "_LINKED", 7 * size)
    monkeypatch.setattr(pairing, "_SLICE", 10 * size)
    pairs, sets = clusters([2, 2, 3, 40, 5, 130, 2, 9], size + batch)
    rows = sorted(grouped(pairs).to_pylist(), key=lambda row: row["group"])
    for row in rows:
        row["shingles"] = sets[row["place"]].view(np.int64)
    table = pa.Table.from_pylist(rows, pairing.SIDE)
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
    assert len(groups) == 7 * 300
    assert largest(groups) <= 2 * pairing.GROUP_RECORDS
    large, _ = clusters([5000], 4)
    groups = grouped(large)
    assert largest(groups) <= 2 * pairing.GROUP_RECORDS
    assert len(groups) < 2 * len(large), "never more than both sides of each pair"
    partners = [partner for some in groups["partners"].to_pylist() for partner in some]
    assert sorted(partners) == sorted(large[:, 0].tolist())


def test_one_large_bucket_sends_a_record_to_few_groups_whatever_its_place() -> None:
    """Where the order of records and that of their places differ."""
    in_order = np.random.default_rng(2).permutation(6000) * 31
    pairs = np.stack(dedup.bucket_pairs(len(in_order)), axis=1)
    groups = members(pairs, in_order)
    assert len(groups) < 4 * len(in_order)
    assert (np.diff(groups["place"].to_numpy()) >= 0).all()


def test_every_unit_finds_its_memberships_in_the_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "_SLICE", 300)
    pairs, _ = clusters([9] * 200, 5)
    in_order, positions = np.unique(pairs, return_inverse=True)
    in_order = in_order << PLACE_BITS - 10
    job = Job(Parts(LakeSettings(root=str(tmp_path)), "test"), Settings())
    stored = pairing.StoredGroups.of(job, positions.reshape(pairs.shape), in_order)
    assert len(stored.keys) > 5
    units = np.unique(in_order >> PLACE_BITS).tolist()
    parts = [(unit, f"{unit}/0") for unit in range(units[-1] + 1)]
    assert [unit for unit, _ in stored.having(parts)] == units
    found: list[int] = []
    for key in dict.fromkeys(map(stored.key, units)):
        groups = pairing.Groups.from_table(read_table(job.parts.open(), key))
        assert {stored.key(unit) for unit in (groups.places >> PLACE_BITS).tolist()} == {key}
        owners = np.repeat(groups.places, np.diff(groups.starts))
        found += zip(groups.partners.tolist(), owners.tolist(), strict=True)
    assert sorted(found) == sorted(map(tuple, in_order[positions.reshape(pairs.shape)].tolist()))
