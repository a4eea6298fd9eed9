"""The log of forgotten documents as several writers and readers see it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.tombstones import (
    TombstoneLog,
    all_tombstones,
    read_forgotten,
    write_tombstones,
)

A, B = ("default", "jira:A"), ("default", "jira:B")


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path)


def test_a_reader_sees_what_was_written_since_its_last_look(lake: LocalLake) -> None:
    log = TombstoneLog(lake)
    assert log.refresh().documents == frozenset()
    write_tombstones(lake, [A], "forget", "ada", "asked by a customer")
    write_tombstones(lake, [B], "forget", "ada")
    assert log.refresh().documents == {A, B}
    write_tombstones(lake, [A], "lift", "ada")
    assert log.refresh().documents == {B}
    assert log.now.any("default", ["jira:A", "jira:B"])
    assert not log.now.any("other", ["jira:B"]), "another tenant's document of the same name"
    first = all_tombstones(lake)[0]
    assert (first.key, first.by, first.reason) == (A, "ada", "asked by a customer")


def test_saying_it_again_adds_nothing_and_lifting_leaves_the_same_digest(lake: LocalLake) -> None:
    before = read_forgotten(lake)
    write_tombstones(lake, [A, A], "forget", "ada")
    once = write_tombstones(lake, [A], "forget", "bob")
    assert once.number == 1 and once.digest not in ("", before.digest)
    assert write_tombstones(lake, [A, B], "lift", "ada").digest == before.digest == ""
    assert [t.action for t in all_tombstones(lake)] == ["forget", "lift"]


def test_writers_at_the_same_time_lose_nothing(lake: LocalLake) -> None:
    keys = [("default", f"jira:{n}") for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: write_tombstones(lake, [key], "forget", "ada"), keys))
    assert read_forgotten(lake).documents == set(keys)
    assert len(all_tombstones(lake)) == len(keys)


def test_a_damaged_tombstone_is_refused_and_what_was_known_stays(lake: LocalLake) -> None:
    write_tombstones(lake, [A], "forget", "ada")
    log = TombstoneLog(lake)
    log.refresh()
    lake.write("tombstones/2.json", b"{broken")
    with pytest.raises(AlchemyError) as caught:
        log.refresh()
    assert caught.value.code is ErrorCode.CORRUPT
    assert log.now.documents == {A}
    with pytest.raises(AlchemyError):
        read_forgotten(lake)
