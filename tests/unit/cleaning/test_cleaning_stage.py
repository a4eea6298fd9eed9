"""The steps of a wash: what stays, what goes, and that no way of working changes it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cleaning_world import Company, Unit, Washed, document, read_here, read_unit

from alchemy.cleaning import pairing, pii, stage
from alchemy.cleaning.copies import copies_of
from alchemy.cleaning.local import LocalEngine
from alchemy.cleaning.metrics import metrics_schema
from alchemy.cleaning.parts import Job, Parts, regrouped
from alchemy.cleaning.plan import LEFT_OUT, Duplicates, Finished, Reading, UnitTask
from alchemy.cleaning.quality import SIGNALS
from alchemy.cleaning.reading import read_task
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.types import Chunk, Document, Removed

PARAGRAPH = "When a container leaves the cluster its modules are deployed again by the admin server, which waits until all of them run. "
WAYS = [None, (1, 0), (4, 1)]


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
def washed(company, tmp_path_factory) -> list[Washed]:
    done = []
    for divided in WAYS:
        place = Company(tmp_path_factory.mktemp("lake"))
        for number, content in enumerate(company):
            place.put(f"part-{number}", content)
        done.append(place.wash(divided))
    return done


def test_output_depends_neither_on_the_engine_nor_on_how_the_work_was_divided(washed) -> None:
    first, *others = washed
    for other in others:
        assert other.receipt.counts == first.receipt.counts
        assert other.bytes_by_name() == first.bytes_by_name()


def test_every_record_is_accounted_for(washed) -> None:
    counts = washed[0].receipt.counts
    assert counts["read.jira"] == 7 + 5 + 80 + 1
    assert counts["quarantined.jira"] == 1
    assert counts["duplicate.jira"] == 5
    assert counts["kept.jira"] + counts["kept.documents"] == len(washed[0].lines(stage.CORPUS))
    assert counts["chunks"] == len(washed[0].lines(stage.CHUNKS))


def test_every_removal_says_why_and_what_stays(washed) -> None:
    removed = [Removed.from_dict(row) for row in washed[0].lines(stage.REMOVED)]
    assert removed[:3] + removed[4:] == [
        Removed("jira:B-0", "exact_duplicate", "jira:B-0", 1.0),
        Removed("jira:E-2", "exact_duplicate", "jira:E-1", 1.0),
        Removed("jira:N-1", "near_duplicate", "jira:N-2", removed[2].similarity),
        Removed("jira:V-2", "exact_duplicate", "jira:V-2", 1.0),
    ]
    assert removed[3] == Removed("jira:V-1", "superseded", "jira:V-1")
    assert 0.85 <= (removed[2].similarity or 0) < 1


def test_records_that_say_the_same_are_kept_without_their_texts(washed) -> None:
    copies = {row["id"]: row for row in washed[0].lines("copies.jsonl")}
    told = {identity: row["extra"]["same_as"] for identity, row in copies.items()}
    assert told == {"jira:E-2": "jira:E-1", "jira:N-1": "jira:N-2"}, "versions are no copies"
    assert all(row["text"] == "" and row["title"] for row in copies.values())
    assert copies["jira:N-1"]["metrics"]["words"] > 20 and copies["jira:N-1"]["acl"]


def test_pairs_compared_in_many_small_groups_leave_the_same_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters of near copies, and chains in which the first and the last differ."""
    chance = random.Random(8)
    words = [f"word{n}" for n in range(400)]
    content: list[Document | str] = []
    for cluster in range(12):
        text = chance.choices(words, k=120)
        for copy in range(9):
            for _ in range(2):  # each is a step from the one before
                text[chance.randrange(120)] = chance.choice(words)
            content.append(document(f"C-{cluster}-{copy}", " ".join(text)))
    washes: list[Washed] = []
    for number, size in enumerate((1000, 4)):
        monkeypatch.setattr(pairing, "GROUP_RECORDS", size)
        place = Company(tmp_path / str(number))
        place.put("all", content)
        washes.append(place.wash())
    together, apart = (washed.bytes_by_name() for washed in washes)
    near = [r for r in washes[0].lines(stage.REMOVED) if r["reason"] == "near_duplicate"]
    assert 12 < len(near) < len(content) - 12, "some chains break in the middle"
    for name in (stage.REMOVED, stage.CORPUS, "copies.jsonl"):
        assert together[name] == apart[name]


def test_the_newest_version_stays_and_is_redacted(washed) -> None:
    corpus = {row["id"]: row for row in washed[0].lines(stage.CORPUS)}
    assert corpus["jira:V-1"]["text"] == "New text of [EMAIL_1]."
    assert corpus["jira:T-1"]["text"] == "Only a title"
    assert {"jira:A-1", "jira:A-2"} <= set(corpus), "a copy for other readers is no copy"
    assert list(corpus) == sorted(corpus)
    redactions = json.loads((washed[0].folder / stage.REDACTIONS).read_text())
    assert redactions == {kind: int(kind == "EMAIL") for kind in pii.KINDS}


def test_chunks_are_spans_of_the_cleaned_text(washed) -> None:
    corpus = {row["id"]: Document.from_dict(row) for row in washed[0].lines(stage.CORPUS)}
    chunks = [Chunk.from_dict(row) for row in washed[0].lines(stage.CHUNKS)]
    assert [(c.document_id, c.ordinal) for c in chunks] == sorted(
        (c.document_id, c.ordinal) for c in chunks
    )
    assert {c.document_id for c in chunks} == set(corpus)
    for chunk in chunks:
        assert chunk.text == corpus[chunk.document_id].text[chunk.start : chunk.end]


def test_metrics_have_one_row_per_document_and_the_union_of_columns(washed) -> None:
    table = pq.read_table(washed[0].folder / stage.METRICS)
    assert table.schema.equals(metrics_schema(["pages", *SIGNALS]))
    assert table["document_id"].to_pylist() == [row["id"] for row in washed[0].lines(stage.CORPUS)]
    row = next(r for r in table.to_pylist() if r["document_id"] == "jira:C-1")
    assert (row["pages"], row["chunks"], row["links"], row["words"]) == (2.0, 2.0, 1.0, 7.0)
    assert row["source"] == "documents"
    assert table["pages"].null_count == table.num_rows - 1


def test_quarantine_keeps_the_place_and_not_the_content(washed) -> None:
    assert washed[0].lines(stage.QUARANTINE) == [
        {
            "source": "jira",
            "uri": "raw/jira/part-0.jsonl",
            "position": "line 7",
            "reason": "not valid JSON",
        }
    ]


def test_a_large_unit_is_stored_in_several_parts(tmp_path: Path) -> None:
    company = Company(tmp_path)
    company.put("many", [document(f"B-{n}", f"Text number {n} of many.") for n in range(30)])
    job = Job(Parts(company.settings.lake, "x", part_bytes=400), company.settings)
    done = read_task(job, read_unit, UnitTask("washed/y", Unit("jira", "raw/jira/many.jsonl")))
    assert done.parts > 5
    engine = LocalEngine(job, read_here, None)
    reading = Reading.of([done])
    finished = engine.finish(reading, engine.duplicates(reading), {})
    assert finished.kept["jira"] == 30


def test_threshold_is_the_configured_one(tmp_path: Path) -> None:
    texts = [PARAGRAPH * 2 + f"Then {n} more words follow here." for n in range(2)]
    for threshold, gone in ((0.6, 1), (0.99, 0)):
        company = Company(tmp_path / str(threshold), near_duplicate_jaccard=threshold)
        company.put("a", [document(f"N-{n}", text, title="t") for n, text in enumerate(texts)])
        assert len(company.wash().lines(stage.REMOVED)) == gone


def test_nothing_to_read_gives_empty_files(tmp_path: Path) -> None:
    washed = Company(tmp_path).wash()
    assert washed.receipt.counts == {"chunks": 0}
    assert pq.read_table(washed.folder / stage.METRICS).num_rows == 0
    assert (washed.folder / stage.CORPUS).read_bytes() == b""


def test_a_part_whose_records_are_only_compared_exactly_is_no_obstacle(tmp_path: Path) -> None:
    company = Company(tmp_path, near_duplicate_jaccard=0.6)
    company.put("a", [document("T-1", "A row of a table.", source="database")])
    near = [PARAGRAPH * 2 + f"Then {n} more words follow here." for n in range(2)]
    company.put("b", [document(f"N-{n}", text, title="t") for n, text in enumerate(near)])
    for divided in (None, (3, 1)):
        washed = company.wash(divided, full=True)
        assert [row["id"] for row in washed.lines(stage.REMOVED)] == ["jira:N-1"]


def test_boilerplate_is_left_out_of_chunks_and_reported(tmp_path: Path) -> None:
    footer = "This message was sent by the issue tracker of the company."
    company = Company(tmp_path, boilerplate={"min_documents": 5})
    company.put("a", [document(f"F-{n}", f"Fact {n} of many.\n\n{footer}") for n in range(9)])
    for divided in (None, (3, 1)):
        washed = company.wash(divided, full=True)
        assert not any("tracker" in row["text"] for row in washed.lines(stage.CHUNKS))
        assert [row["text"] for row in washed.lines(stage.CORPUS)][:2] == [
            "Fact 0 of many.",
            "Fact 1 of many.",
        ]
        (line,) = washed.lines("boilerplate.jsonl")
        assert (line["source"], line["documents"], line["sample"]) == ("jira", 9, footer)


def test_a_filtered_document_is_counted_and_says_which_signal(tmp_path: Path) -> None:
    company = Company(tmp_path)
    broken = document("X-1", "\ufffd" * 60 + " text")
    company.put("a", [broken, document("X-2", "A readable text about the cluster.")])
    washed = company.wash()
    assert washed.receipt.counts["filtered.jira"] == 1
    assert [row["id"] for row in washed.lines(stage.CORPUS)] == ["jira:X-2"]
    (removed,) = washed.lines(stage.REMOVED)
    assert (removed["id"], removed["reason"]) == ("jira:X-1", "quality:broken_share")


def exploding_reader(lake: Lake, unit: Unit, settings: Settings) -> Iterator[Document]:
    raise KeyError("password: hunter22")
    yield


def test_a_failing_connector_is_named_without_what_it_read(tmp_path: Path) -> None:
    company = Company(tmp_path)
    company.put("x", [])
    with pytest.raises(AlchemyError) as caught:
        company.wash(read=exploding_reader)
    assert caught.value.code is ErrorCode.STAGE_FAILED
    assert "raw/jira/x.jsonl" in caught.value.message
    assert "KeyError" in caught.value.message
    assert "hunter22" not in str(caught.value)


def test_records_that_do_not_add_up_stop_the_stage() -> None:
    reading = Reading([], 0, Counter(jira=3), Counter(jira=1), Counter())
    gone = {"place": 7, "id": "jira:A-1", "source": "jira", "reason": "exact_duplicate"}
    removed = pl.DataFrame([gone], schema=LEFT_OUT)
    duplicates = Duplicates(removed, copies_of(removed), 0)
    with pytest.raises(AlchemyError, match="'jira' do not add up: 3 read, 0 kept"):
        stage.account(reading, duplicates, Finished([], Counter(), 0, []))
    finished = Finished([], Counter(jira=1), 4, [])
    assert stage.account(reading, duplicates, finished)["chunks"] == 4


def test_row_groups_have_one_size_however_rows_were_divided() -> None:
    schema = pa.schema([("x", pa.int64())])
    table = pa.table({"x": list(range(37))}, schema)
    for cut in (1, 7, 10, 36):
        groups = list(regrouped([table.slice(0, cut), table.slice(cut)], schema, 10))
        assert [group.num_rows for group in groups] == [10, 10, 10, 7]
        assert pa.concat_tables(groups).equals(table)
