"""First places within components and the like, against a direct count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from alchemy.quant.groups import group_places
from alchemy.quant.records import IDENTITY


def world(directory: Path, days: np.ndarray, votes: np.ndarray) -> tuple[pl.LazyFrame, Path]:
    """60 issues: every third of component `bus`, the others of `ui`, all of one project."""
    ids = [f"jira:XD-{i:02d}" for i in range(60)]
    components = [["bus"] if i % 3 == 0 else ["ui"] for i in range(60)]
    identity = {name: [None] * 60 for name in IDENTITY if name != "document_id"}
    records = directory / "facts.parquet"
    schema = dict.fromkeys((*identity, "same_as"), pl.String)
    pl.DataFrame(
        {
            "document_id": ids,
            **identity,
            "kind": ["issue"] * 60,
            "same_as": [None] * 60,
            "components": components,
            "project": [["XD"]] * 60,
        },
        schema_overrides=schema,
    ).write_parquet(records)
    table = pl.DataFrame({"document_id": ids, "days_open": days, "votes": votes}).lazy()
    return table, records


def places(directory: Path, days: np.ndarray, votes: np.ndarray) -> dict[str, str]:
    table, records = world(directory, days, votes)
    return group_places(table, records, ["days_open", "votes"], 60, 8)


def test_the_slowest_and_fastest_of_a_component_are_named(tmp_path: Path) -> None:
    days = np.arange(60.0)
    told = places(tmp_path, days, np.zeros(60))
    assert told["jira:XD-51"] == "Third-slowest of 20 with component bus (51.0 days open)."
    assert told["jira:XD-59"] == "Slowest of 40 with component ui (59.0 days open)."
    assert told["jira:XD-00"] == "Fastest of 20 with component bus (0.0 days open)."
    bus, ui = days[days % 3 == 0], days[days % 3 != 0]
    outer = {*np.sort(bus)[[0, 1, 2, -1, -2, -3]], *np.sort(ui)[[0, 1, 2, -1, -2, -3]]}
    assert {float(i.rpartition("-")[2]) for i in told} == outer, "equal votes put nobody first"


def test_a_small_group_and_the_whole_source_are_no_groups(tmp_path: Path) -> None:
    votes = np.where(np.arange(60) < 2, 9.0, np.nan)
    assert places(tmp_path, np.full(60, np.nan), votes) == {}
    assert not any("project" in text for text in places(tmp_path, np.arange(60.0), votes).values())


def test_changing_one_issue_touches_only_those_it_passes(tmp_path: Path) -> None:
    days = np.arange(60.0)
    before = places(tmp_path, days, np.zeros(60))
    days[30] = 54.5  # of component bus: now behind 57 only
    after = places(tmp_path, days, np.zeros(60))
    changed = {i for i in {*before, *after} if before.get(i) != after.get(i)}
    assert changed == {"jira:XD-30", "jira:XD-54", "jira:XD-51"}
    assert after["jira:XD-30"].startswith("Second-slowest of 20")
