"""What was read, in ranges of ids of any size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cleaning_world import Company, Unit, document, read_here, read_unit

from alchemy.cleaning.parts import Job, Parts
from alchemy.cleaning.plan import Reading, UnitTask
from alchemy.cleaning.records import Records


@pytest.mark.parametrize("size", [3, 7, 1000])
def test_ranges_of_any_size_give_one_file_and_one_account(tmp_path: Path, size: int) -> None:
    company = Company(tmp_path)
    names = [f"R-{n * 37 % 100}" for n in range(40)]
    company.put("a", [document(name, f"Text of {name}.") for name in names[:25]])
    company.put("b", [document(name, f"Text of {name}.") for name in names[20:]])
    job = Job(Parts(company.settings.lake, "x", part_bytes=500), company.settings)
    tasks = [UnitTask(f"washed/{n}", Unit("jira", f"raw/jira/{n}.jsonl")) for n in "ab"]
    reading = Reading.of(list(read_here(job, read_unit, tasks)))
    records = Records.of(job, reading, tmp_path / "records", size)
    assert len(records.files) > 1 or size == 1000
    removed = np.array([0, 3], np.int64)
    records.write(removed, tmp_path / "records.parquet")
    rows = pq.read_table(tmp_path / "records.parquet").to_pylist()
    assert [row["id"] for row in rows] == sorted({f"jira:{name}" for name in names})
    assert {row["id"] for row in rows if not row["kept"]} == {
        f"jira:{n}" for n in (names[0], names[3])
    }
    assert all((row["line"] is not None) == row["kept"] for row in rows)

    company.put("b", [document(name, f"New text of {name}.") for name in names[30:]])
    company.put("c", [document("R-new", "One more.")])
    tasks = [UnitTask(f"washed/later-{n}", Unit("jira", f"raw/jira/{n}.jsonl")) for n in "abc"]
    reading = Reading.of(list(read_here(job, read_unit, tasks)))
    later = Records.of(job, reading, tmp_path / "later", size)
    assert later.changes(tmp_path / "records.parquet") == {
        "added": Counter(jira=1),
        "changed": Counter(jira=10),
        "unchanged": Counter(jira=25),
        "vanished": Counter(jira=5),
    }
