"""The steps of a wash, joined as the Spark plan joins them but in this process."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alchemy.cleaning import batches, pii, stage
from alchemy.cleaning.batches import Batches, Job
from alchemy.cleaning.metrics import metrics_schema
from alchemy.cleaning.parts import PART_BYTES, Parts
from alchemy.cleaning.spark import Duplicates, Finished, Reading, collect_duplicates
from alchemy.config import CleaningSettings, LakeSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.stage import StageContext
from alchemy.types import Chunk, Document, JsonRecord, Quarantined, Removed


@dataclass(frozen=True)
class Unit(JsonRecord):
    source: str
    key: str


def read_unit(lake: Lake, unit: Unit, settings: Settings) -> Iterator[Document | Quarantined]:
    for number, line in enumerate(lake.read(unit.key).decode().splitlines(), 1):
        try:
            yield Document.from_dict(json.loads(line))
        except (ValueError, TypeError):
            yield Quarantined(unit.source, unit.key, f"line {number}", "not valid JSON")


def exploding_reader(lake: Lake, unit: Unit, settings: Settings) -> Iterator[Document]:
    raise KeyError("password: hunter22")
    yield


def document(key: str, text: str, **changes: Any) -> Document:
    fields: dict[str, Any] = {
        "source": "jira",
        "title": f"Title of {key}",
        "uri": f"https://x.internal/{key}",
        "tenant": "default",
        "acl": ("everyone",),
    }
    return Document(id=f"jira:{key}", text=text, **{**fields, **changes})


class Wash:
    """The plan of `alchemy.cleaning.spark`, with `partitions` of rows that arrive in any order."""

    def __init__(
        self,
        root: Path,
        partitions: int,
        seed: int = 0,
        part_bytes: int = PART_BYTES,
        **cleaning: Any,
    ) -> None:
        lake = LakeSettings(root=str(root))
        self.settings = Settings(lake=lake, cleaning=CleaningSettings(**cleaning))
        self.parts = Parts(lake, f"processed/run-{partitions}-{seed}/parts/x", part_bytes)
        self.job = Job(self.parts, self.settings)
        self.partitions = partitions
        self.random = random.Random(seed)
        self.root = root

    def put(self, name: str, lines: Sequence[Document | str]) -> Unit:
        text = "".join((x if isinstance(x, str) else x.to_json()) + "\n" for x in lines)
        self.parts.open().write(f"raw/jira/{name}.jsonl", text.encode())
        return Unit("jira", f"raw/jira/{name}.jsonl")

    def rows(self, step: Callable[[Batches], Batches], rows: list[dict], schema: pa.Schema) -> list:
        table = pa.Table.from_pylist(rows, schema)
        size = self.random.choice([1, 3, 1000])
        return [row for batch in step(iter(table.to_batches(size))) for row in batch.to_pylist()]

    def spread(
        self, step: Any, rows: list[dict], schema: pa.Schema, key: str | None = None
    ) -> list:
        """Run a step over partitions, by hash of `key` or at random."""
        shuffled = self.random.sample(rows, len(rows))
        divided: list[list[dict]] = [[] for _ in range(self.partitions)]
        for row in shuffled:
            where = hash(row[key]) if key else self.random.randrange(self.partitions)
            divided[where % self.partitions].append(row)
        return [row for part in divided for row in self.rows(step, part, schema)]

    def sorted_by(self, step: Any, rows: list[dict], schema: pa.Schema, *keys: str) -> list:
        def sort_first(incoming: Batches) -> Batches:
            table = pa.Table.from_batches(incoming, schema)
            table = table.sort_by([(key, "ascending") for key in keys])
            return step(iter(table.to_batches(self.random.choice([1, 2, 1000]))))

        return self.spread(sort_first, rows, schema, keys[0])

    def read(self, units: Sequence[JsonRecord], reader: Any = read_unit) -> Reading:
        rows = [{"unit": number, "payload": raw} for number, raw in batches.encode_units(units)]
        step = functools.partial(batches.read_batches, self.job, reader)
        done = [json.loads(row["summary"]) for row in self.spread(step, rows, batches.UNIT)]
        totals = {
            name: sum((batches.Counter(d[name]) for d in done), batches.Counter())
            for name in ("read", "quarantined", "redactions")
        }
        return Reading(
            sorted(n for d in done for n in d["parts"]),
            sum(d["text_bytes"] for d in done),
            **totals,
        )

    def duplicates(self, reading: Reading) -> Duplicates:
        parts = [{"part": name} for name in reading.parts]
        bind = functools.partial
        records = self.spread(bind(batches.record_batches, self.job), parts, batches.PART)
        versions = self.sorted_by(
            batches.version_batches, records, batches.RECORD, "id", "updated", "place"
        )
        gone = self.sorted_by(
            batches.copy_batches, versions, batches.VERSION, "exact", "created", "id"
        )
        places = np.array([row["place"] for row in gone], np.int64)
        bands = self.spread(bind(batches.band_batches, self.job, places), parts, batches.PART)
        found = self.sorted_by(
            batches.candidate_batches, bands, batches.BAND, "band", "created", "id"
        )
        found = [dict(pair) for pair in {tuple(row.items()) for row in found}]
        wanted = np.array([place for row in found for place in row.values()], np.int64)
        step = bind(batches.shingle_batches, self.job, wanted)
        shingles = {row["place"]: row for row in self.spread(step, parts, batches.PART)}
        joined = [
            {f"left_{k}": v for k, v in shingles[row["left"]].items()}
            | {f"right_{k}": v for k, v in shingles[row["right"]].items()}
            for row in found
        ]
        schema = pa.schema(
            [(f"{side}_{f.name}", f.type) for side in ("left", "right") for f in batches.SHINGLES]
        )
        threshold = self.settings.cleaning.near_duplicate_jaccard
        pairs = self.spread(bind(batches.verified_batches, threshold), joined, schema)
        return collect_duplicates(gone, pairs, len(found))

    def finish(self, reading: Reading, removed: np.ndarray) -> Finished:
        parts = [{"part": name} for name in reading.parts]
        step = functools.partial(batches.document_batches, self.job, removed)
        rows = sorted(self.spread(step, parts, batches.PART), key=lambda row: row["id"])
        cuts = sorted(self.random.choices(range(len(rows) + 1), k=self.partitions - 1))
        done = []
        for number, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(rows)], strict=True)):
            chunk = functools.partial(batches.chunk_batches, self.job, number)
            done += [
                json.loads(r["summary"]) for r in self.rows(chunk, rows[a:b], batches.DOCUMENT)
            ]
        return Finished(
            sorted(n for d in done for n in d["parts"]),
            sum((batches.Counter(d["kept"]) for d in done), batches.Counter()),
            sum(d["chunks"] for d in done),
            sorted({n for d in done for n in d["metrics"]}),
        )

    def run(self, units: Sequence[JsonRecord]) -> tuple[dict[str, Path], dict[str, float]]:
        reading = self.read(units)
        duplicates = self.duplicates(reading)
        finished = self.finish(reading, duplicates.places)
        scratch = self.root / "scratch" / self.parts.root
        context = StageContext("run", "wash", self.settings, self.parts.open(), scratch)
        files = stage.assemble(context, self.parts, reading, duplicates, finished)
        return files, stage.account(reading, duplicates, finished)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


PARAGRAPH = "When a container leaves the cluster its modules are deployed again by the admin server, which waits until all of them run. "
RUNS = [(1, 0), (4, 1)]


@pytest.fixture(scope="module")
def company() -> list[list[Document | str]]:
    random_words = random.Random(5)
    vocabulary = [f"term{n}" for n in range(300)]
    bulk = [
        document(
            f"B-{n}", " ".join(random_words.choices(vocabulary, k=random_words.randrange(5, 90)))
        )
        for n in range(80)
    ]
    return [
        [
            document(
                "V-1", "Old text.", updated_at="2020-01-01T00:00:00Z", metrics={"points": 3.0}
            ),
            document("V-2", "Says the same.", updated_at="2020-01-01T00:00:00Z"),
            document("E-2", PARAGRAPH, title="Copy", created_at="2021-01-01T00:00:00Z"),
            document(
                "N-1", PARAGRAPH * 3 + "First.", title="Near", created_at="2019-01-01T00:00:00Z"
            ),
            document("A-1", PARAGRAPH, title="Secret", acl=("ops",)),
            document("A-2", PARAGRAPH, title="Secret", acl=("dev",)),
            '{"id": broken',
        ],
        [
            document("V-1", "New text of ada@example.org.", updated_at="2020-01-01T00:00:00.5Z"),
            document("V-2", "Says  the same.", updated_at="2020-02-01T00:00:00Z"),
            document("E-1", PARAGRAPH.upper(), title="COPY", created_at="2020-01-01T00:00:00Z"),
            document(
                "N-2", PARAGRAPH * 3 + "Second.", title="Near", created_at="2018-01-01T00:00:00Z"
            ),
            document("T-1", "", title="Only a title"),
            document(
                "C-1",
                "# One\n\ntext\n\n# Two\n\nsee https://x.io",
                source="documents",
                metrics={"pages": 2.0},
            ),
        ],
        *([bulk[n : n + 20] for n in range(0, 80, 20)]),
        [document("B-0", bulk[0].text)],
    ]


@pytest.fixture(scope="module")
def washed(company, tmp_path_factory) -> dict[tuple[int, int], tuple[dict[str, Path], dict]]:
    done = {}
    for partitions, seed in RUNS:
        wash = Wash(tmp_path_factory.mktemp("lake"), partitions, seed)
        units = [wash.put(f"part-{number}", content) for number, content in enumerate(company)]
        done[partitions, seed] = wash.run(units)
    return done


def test_output_does_not_depend_on_how_the_work_was_divided(washed) -> None:
    (first, counts), *others = washed.values()
    for files, other_counts in others:
        assert other_counts == counts
        for name, path in files.items():
            assert path.read_bytes() == first[name].read_bytes(), name


def test_every_record_is_accounted_for(washed) -> None:
    files, counts = washed[RUNS[0]]
    assert counts["read.jira"] == 7 + 5 + 80 + 1
    assert counts["quarantined.jira"] == 1
    assert counts["duplicate.jira"] == 5
    assert counts["kept.jira"] + counts["kept.documents"] == len(lines(files[stage.CORPUS]))
    assert counts["chunks"] == len(lines(files[stage.CHUNKS]))


def test_every_removal_says_why_and_what_stays(washed) -> None:
    removed = [Removed.from_dict(row) for row in lines(washed[RUNS[0]][0][stage.REMOVED])]
    assert removed[:3] + removed[4:] == [
        Removed("jira:B-0", "exact_duplicate", "jira:B-0", 1.0),
        Removed("jira:E-2", "exact_duplicate", "jira:E-1", 1.0),
        Removed("jira:N-1", "near_duplicate", "jira:N-2", removed[2].similarity),
        Removed("jira:V-2", "exact_duplicate", "jira:V-2", 1.0),
    ]
    assert removed[3] == Removed("jira:V-1", "superseded", "jira:V-1")
    assert 0.85 <= (removed[2].similarity or 0) < 1


def test_the_newest_version_stays_and_is_redacted(washed) -> None:
    corpus = {row["id"]: row for row in lines(washed[RUNS[0]][0][stage.CORPUS])}
    assert corpus["jira:V-1"]["text"] == "New text of [EMAIL_1]."
    assert corpus["jira:T-1"]["text"] == "Only a title"
    assert {"jira:A-1", "jira:A-2"} <= set(corpus), "a copy for other readers is no copy"
    assert list(corpus) == sorted(corpus)
    redactions = json.loads(washed[RUNS[0]][0][stage.REDACTIONS].read_text())
    assert redactions == {kind: int(kind == "EMAIL") for kind in pii.KINDS}


def test_chunks_are_spans_of_the_cleaned_text(washed) -> None:
    files, _ = washed[RUNS[0]]
    corpus = {row["id"]: Document.from_dict(row) for row in lines(files[stage.CORPUS])}
    chunks = [Chunk.from_dict(row) for row in lines(files[stage.CHUNKS])]
    assert [(c.document_id, c.ordinal) for c in chunks] == sorted(
        (c.document_id, c.ordinal) for c in chunks
    )
    assert {c.document_id for c in chunks} == set(corpus)
    for chunk in chunks:
        assert chunk.text == corpus[chunk.document_id].text[chunk.start : chunk.end]


def test_metrics_have_one_row_per_document_and_the_union_of_columns(washed) -> None:
    files, _ = washed[RUNS[0]]
    table = pq.read_table(files[stage.METRICS])
    assert table.schema.equals(metrics_schema(["pages"]))
    assert table["document_id"].to_pylist() == [row["id"] for row in lines(files[stage.CORPUS])]
    row = next(r for r in table.to_pylist() if r["document_id"] == "jira:C-1")
    assert (row["pages"], row["chunks"], row["links"], row["words"]) == (2.0, 2.0, 1.0, 7.0)
    assert row["source"] == "documents"
    assert table["pages"].null_count == table.num_rows - 1


def test_quarantine_keeps_the_place_and_not_the_content(washed) -> None:
    assert lines(washed[RUNS[0]][0][stage.QUARANTINE]) == [
        {
            "source": "jira",
            "uri": "raw/jira/part-0.jsonl",
            "position": "line 7",
            "reason": "not valid JSON",
        }
    ]


def test_a_large_unit_is_stored_in_several_parts(tmp_path: Path) -> None:
    wash = Wash(tmp_path, 2, part_bytes=400)
    unit = wash.put("many", [document(f"B-{n}", f"Text number {n} of many.") for n in range(30)])
    assert len(wash.read([unit]).parts) > 5
    files, counts = wash.run([unit])
    assert counts["kept.jira"] == 30
    assert len(lines(files[stage.CORPUS])) == 30


def test_threshold_is_the_configured_one(tmp_path: Path) -> None:
    texts = [PARAGRAPH * 2 + f"Then {n} more words follow here." for n in range(2)]
    for threshold, gone in ((0.6, 1), (0.99, 0)):
        wash = Wash(tmp_path / str(threshold), 2, near_duplicate_jaccard=threshold)
        unit = wash.put("a", [document(f"N-{n}", text, title="t") for n, text in enumerate(texts)])
        assert len(wash.duplicates(wash.read([unit])).removed) == gone


def test_nothing_to_read_gives_empty_files(tmp_path: Path) -> None:
    files, counts = Wash(tmp_path, 2).run([])
    assert counts == {"chunks": 0}
    assert pq.read_table(files[stage.METRICS]).num_rows == 0
    assert files[stage.CORPUS].read_bytes() == b""


def test_a_failing_connector_is_named_without_what_it_read(tmp_path: Path) -> None:
    wash = Wash(tmp_path, 1)
    with pytest.raises(AlchemyError) as caught:
        wash.read([wash.put("x", [])], exploding_reader)
    assert caught.value.code is ErrorCode.STAGE_FAILED
    assert "raw/jira/x.jsonl" in caught.value.message
    assert "KeyError" in caught.value.message
    assert "hunter22" not in str(caught.value)


def test_records_that_do_not_add_up_stop_the_stage() -> None:
    count = batches.Counter
    reading = Reading([], 0, count(jira=3), count(jira=1), count())
    duplicates = Duplicates(np.empty(0, np.int64), [], count(jira=1), 0)
    with pytest.raises(AlchemyError, match="'jira' do not add up: 3 read, 0 kept"):
        stage.account(reading, duplicates, Finished([], count(), 0, []))
    assert stage.account(reading, duplicates, Finished([], count(jira=1), 4, []))["chunks"] == 4


def test_row_groups_have_one_size_however_rows_were_divided() -> None:
    schema = pa.schema([("x", pa.int64())])
    table = pa.table({"x": list(range(37))}, schema)
    for cut in (1, 7, 10, 36):
        groups = list(stage.regrouped([table.slice(0, cut), table.slice(cut)], schema, 10))
        assert [group.num_rows for group in groups] == [10, 10, 10, 7]
        assert pa.concat_tables(groups).equals(table)
