"""A second wash: it reads what changed, and its files are those of a first wash of the same data."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from cleaning_world import Company, document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alchemy.cleaning import stage
from alchemy.config import CleaningSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Document

SENTENCES = [
    "The admin server deploys modules again when a container leaves the cluster",
    "Write to ada@example.org or call +49 30 901820 before the release",
    "A tap listens to a stream without disturbing it at all",
    "Use password=hunter22secret only on the test machine 10.1.2.3",
    "The shell lists every job that ran since the last restart of the node",
    "Counters and gauges keep their values in Redis until somebody deletes them",
]


def text_of(chance: random.Random) -> str:
    return chance.choice([". ", ".\n"]).join(chance.choices(SENTENCES, k=chance.randrange(1, 9)))


def company_of(root: Path, files: dict[str, list[Document | str]]) -> Company:
    # limits so low that lines become boilerplate, and cease to be, from one export to the next
    rare = {"min_documents": 4, "min_chars": 20}
    company = Company(root, sync={"max_vanished_share": 1.0}, boilerplate=rare)
    for name, content in files.items():
        company.put(name, content)
    return company


def random_document(chance: random.Random) -> Document:
    return document(
        f"R-{chance.randrange(40)}",
        text_of(chance),
        created_at=f"20{chance.randrange(10, 25)}-01-01T00:00:00Z",
        updated_at=f"2025-01-{chance.randrange(1, 28):02}T00:00:00Z",
        metrics={chance.choice(["points", "comments"]): float(chance.randrange(9))},
        acl=(chance.choice(["everyone", "ops"]),),
    )


def edit(chance: random.Random, files: dict[str, list[Document | str]]) -> None:
    """One thing that happens to raw data between two exports."""
    kind = chance.choice(["add", "change", "delete", "break", "new file", "lose file", "reorder"])
    name = chance.choice(sorted(files)) if files else ""
    if kind == "new file" or not files:
        files[f"f{chance.randrange(30):02}"] = [random_document(chance) for _ in range(3)]
    elif kind == "lose file":
        del files[name]
    elif kind == "add":
        files[name].insert(chance.randrange(len(files[name]) + 1), random_document(chance))
    elif files[name]:
        place = chance.randrange(len(files[name]))
        record = files[name][place]
        if kind == "delete":
            del files[name][place]
        elif kind == "break":
            files[name][place] = '{"id": broken'
        elif kind == "reorder":
            chance.shuffle(files[name])
        elif isinstance(record, Document):
            files[name][place] = replace(record, text=text_of(chance))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6))
def test_any_series_of_increments_gives_the_bytes_of_one_whole_wash(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    files: dict[str, list[Document | str]] = {
        f"f{n:02}": [random_document(chance) for _ in range(8)] for n in range(4)
    }
    synced = company_of(tmp_path_factory.mktemp("synced"), files)
    synced.wash()
    for _ in range(3):
        before = set(files)
        for _ in range(chance.randrange(1, 4)):
            edit(chance, files)
        for name in before - set(files):
            synced.remove(name)
        for name, content in files.items():
            synced.put(name, content)
        increment = synced.wash()
        whole = company_of(tmp_path_factory.mktemp("whole"), files).wash((3, seed))
        assert increment.bytes_by_name() == whole.bytes_by_name()


@pytest.fixture
def files() -> dict[str, list[Document | str]]:
    chance = random.Random(1)
    return {
        f"f{n}": [
            document(f"{n}-{m}", f"{text_of(chance)} number {n} {m}", title=f"Issue {n} {m}")
            for m in range(20)
        ]
        for n in range(3)
    }


def test_unchanged_data_is_compared_and_not_read(
    tmp_path: Path, files: dict[str, list[Document | str]]
) -> None:
    company = company_of(tmp_path, files)
    first, second = company.wash(), company.wash()
    assert len(first.tasks) == 3 and second.tasks == []
    assert second.bytes_by_name() == first.bytes_by_name()
    assert second.events["wash.chunk"]["reused"] == first.receipt.rows
    assert second.receipt.counts["unchanged.jira"] == 60


def test_one_changed_record_is_the_only_one_that_is_cleaned_again(
    tmp_path: Path, files: dict[str, list[Document | str]]
) -> None:
    company = company_of(tmp_path, files)
    company.wash()
    changed = files["f1"][4]
    assert isinstance(changed, Document)
    files["f1"][4] = replace(changed, text="Quite another text about the same.")
    company.put("f1", files["f1"])
    washed = company.wash()
    assert [task.unit.key for task in washed.tasks] == ["raw/jira/f1.jsonl"]
    assert washed.events["wash.changes"] == {
        "added": 0,
        "changed": 1,
        "unchanged": 59,
        "vanished": 0,
    }
    assert washed.events["wash.chunk"]["reused"] == washed.receipt.rows - 1


def test_a_copy_comes_back_when_its_survivor_vanishes(tmp_path: Path) -> None:
    text = ". ".join(SENTENCES)
    company = Company(tmp_path)
    company.put("a", [document("A-1", text, title="t", created_at="2020-01-01T00:00:00Z")])
    company.put("b", [document("B-1", text, title="t", created_at="2021-01-01T00:00:00Z")])
    assert [row["id"] for row in company.wash().lines(stage.CORPUS)] == ["jira:A-1"]
    company.remove("a")
    washed = company.wash()
    assert [row["id"] for row in washed.lines(stage.CORPUS)] == ["jira:B-1"]
    assert washed.lines(stage.REMOVED) == []


def test_a_source_that_shrinks_at_once_stops_the_wash_until_it_is_allowed(
    tmp_path: Path, files: dict[str, list[Document | str]]
) -> None:
    company = Company(tmp_path, sync={"min_vanished": 10})
    for name, content in files.items():
        company.put(name, content)
    first = company.wash()
    company.remove("f0")
    with pytest.raises(AlchemyError, match="20 of 60 records of 'jira' are no longer") as caught:
        company.wash()
    assert caught.value.code is ErrorCode.VANISHED
    assert first.bytes_by_name(), "the last wash stands as it was"
    allowed = company.wash(max_vanished_share=1.0)
    assert allowed.receipt.counts["vanished.jira"] == 20
    assert allowed.receipt.rows == 40


def test_full_reads_everything_again_and_gives_the_same(
    tmp_path: Path, files: dict[str, list[Document | str]]
) -> None:
    company = company_of(tmp_path, files)
    first, second = company.wash(), company.wash(full=True)
    assert len(second.tasks) == 3
    assert second.events["wash.chunk"]["reused"] == 0
    assert second.bytes_by_name() == first.bytes_by_name()


def test_other_cleaning_settings_use_nothing_of_the_last_wash(
    tmp_path: Path, files: dict[str, list[Document | str]]
) -> None:
    company = company_of(tmp_path, files)
    company.wash()
    company.settings = company.settings.model_copy(
        update={"cleaning": CleaningSettings(chunk_tokens=16)}
    )
    washed = company.wash()
    assert len(washed.tasks) == 3
    assert washed.events["wash.chunk"]["reused"] == 0


def test_an_interrupted_wash_goes_on_with_the_units_it_had_not_read(
    tmp_path: Path, files: dict[str, list[Document | str]]
) -> None:
    company = company_of(tmp_path, files)
    whole = company_of(tmp_path / "whole", files).wash()

    def read_two(lake, unit, settings):
        from cleaning_world import read_unit

        if unit.key.endswith("f2.jsonl"):
            raise AlchemyError(ErrorCode.LAKE_UNAVAILABLE, "the lake went away")
        yield from read_unit(lake, unit, settings)

    with pytest.raises(AlchemyError, match="went away"):
        company.wash(read=read_two)
    resumed = company.wash()
    assert [task.unit.key for task in resumed.tasks] == ["raw/jira/f2.jsonl"]
    assert resumed.bytes_by_name() == whole.bytes_by_name()


def test_damaged_files_of_the_last_wash_are_not_copied_from(
    tmp_path: Path, files: dict[str, list[Document | str]]
) -> None:
    company = company_of(tmp_path, files)
    first = company.wash()
    expected = first.bytes_by_name()
    chunks = first.folder / stage.CHUNKS
    chunks.write_bytes(chunks.read_bytes()[:-200])
    second = company.wash()
    assert second.events["wash.chunk"]["reused"] == 0
    assert second.bytes_by_name() == expected


def test_parts_of_what_vanished_are_deleted(
    tmp_path: Path, files: dict[str, list[Document | str]]
) -> None:
    company = company_of(tmp_path, files)
    company.wash()
    company.remove("f0")
    washed = company.wash()
    kept = {path.parents[1] for path in tmp_path.glob("washed/*/*/*/done.json")}
    named = {
        (tmp_path / unit["root"]).parent
        for line in washed.lines("ledger.jsonl")[1:]
        for unit in line["units"]
    }
    assert kept == named and len(named) == 2
