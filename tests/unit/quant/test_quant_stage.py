"""The stage on a lake, in one process."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.quant.stage import Baseline, run
from alchemy.stage import StageContext, write_receipt
from alchemy.stores import open_lake
from alchemy.types import Document, Receipt


@pytest.fixture
def context(settings, tmp_path, rng) -> StageContext:
    lake = open_lake(settings.lake)
    pl.DataFrame(
        {
            "document_id": [f"jira:XD-{i}" for i in range(120)],
            "source": ["jira"] * 120,
            "created_at": ["2015-10-07T20:46:44Z"] * 120,
            "updated_at": [None] * 120,
            "story_points": rng.normal(size=120),
            "comment_count": rng.poisson(3.0, 120).astype(float),
        }
    ).write_parquet(tmp_path / "metrics.parquet")
    lake.upload("processed/r1/metrics.parquet", tmp_path / "metrics.parquet")
    corpus = (
        Document(f"jira:XD-{i}", "jira", f"Issue {i}", "text", "u", "default", ("everyone",),
                 extra={"status": "Open", "components": ["bus"] if i % 2 else []})
        for i in range(120)
    )  # fmt: skip
    lake.write(
        "processed/r1/cleaned_corpus.jsonl", "".join(f"{d.to_json()}\n" for d in corpus).encode()
    )
    lake.write("processed/r1/copies.jsonl", b"")
    write_receipt(lake, Receipt("r1", "wash", "processed/r1", 120, 1, "abc", (), {}, 0.1))
    return StageContext("r1", "quant", settings, lake, tmp_path / "scratch")


def test_the_receipt_describes_exactly_the_files_in_the_lake(context):
    receipt = run(context)
    assert {o.key for o in context.lake.list("quant/")} == set(receipt.files)
    assert {k.rpartition("/")[2] for k in receipt.files} == {
        "final_features.parquet",
        "profile.json",
        "report.json",
        "report.html",
        "insights.jsonl",
        "features.json",
        "facts.parquet",
        "history.json",
    }
    assert receipt.rows == 120 and receipt.stage == "quant" and receipt.inputs["wash"] == "abc"
    features = pl.read_parquet(context.fetch("quant/r1/final_features.parquet"))
    assert tuple(features.columns) == receipt.schema
    assert set(receipt.counts) == {
        "columns_in",
        "features_generated",
        "features_kept",
        "insights",
        "drift_warnings",
    }


def test_the_records_hold_each_document_with_its_labels_and_numbers(context):
    run(context)
    records = pl.read_parquet(context.fetch("quant/r1/facts.parquet"))
    assert records["document_id"].to_list() == [f"jira:XD-{i}" for i in range(120)]
    first = records.row(by_predicate=pl.col("document_id") == "jira:XD-1", named=True)
    assert (first["kind"], first["status"], first["components"]) == ("issue", ["Open"], ["bus"])
    metrics = pl.read_parquet(context.fetch("processed/r1/metrics.parquet"))
    own = metrics.filter(pl.col("document_id") == "jira:XD-1")["story_points"].item()
    assert first["story_points"] == own


def test_the_next_run_tells_what_changed_since_the_released_one(context, tmp_path, settings):
    run(context)
    profile = json.loads(context.lake.read("quant/r1/profile.json"))
    metrics = pl.read_parquet(context.fetch("processed/r1/metrics.parquet"))
    one = pl.col("document_id") == "jira:XD-7"
    metrics = metrics.with_columns(comment_count=pl.when(one).then(40.0).otherwise("comment_count"))
    metrics.write_parquet(tmp_path / "next.parquet")
    context.lake.upload("processed/r2/metrics.parquet", tmp_path / "next.parquet")
    corpus = context.lake.read("processed/r1/cleaned_corpus.jsonl").decode().splitlines()
    corpus[7] = corpus[7].replace('"Open"', '"Closed"')
    context.lake.write("processed/r2/cleaned_corpus.jsonl", "\n".join([*corpus, ""]).encode())
    context.lake.write("processed/r2/copies.jsonl", b"")
    write_receipt(context.lake, Receipt("r2", "wash", "processed/r2", 120, 1, "d", (), {}, 0.1))
    later = StageContext("r2", "quant", settings, context.lake, tmp_path / "scratch2")
    run(later, Baseline(profile, "live release", "r1"))
    lines = context.lake.read("quant/r2/insights.jsonl").decode().splitlines()
    insights = {(i := json.loads(line))["document_id"]: i["insight"] for line in lines}
    assert "Since the last release: status Open → Closed, comment count" in insights["jira:XD-7"]
    assert [i for i, text in insights.items() if "Since the last" in text] == ["jira:XD-7"]
    runs = json.loads(context.lake.read("quant/r2/history.json"))["runs"]
    assert [entry["run"] for entry in runs] == ["r1", "r2"]
    mean = [entry["sources"]["jira"]["columns"]["comment_count"]["mean"] for entry in runs]
    assert mean[1] > mean[0]
    page = context.lake.read("quant/r2/report.html").decode()
    assert "<h2>2 runs</h2>" in page and page.count("<polyline class='trend'") == 2


def test_drift_stops_the_stage_after_the_report_is_in_the_lake(context):
    run(context)
    profile = json.loads(context.lake.read("quant/r1/profile.json"))
    for numbers in profile["columns"]["story_points"]["by_source"].values():
        numbers["cuts"] = (np.array(numbers["cuts"]) + 40).tolist()
    for name in ("report.json", "report.html"):
        context.lake.delete(f"quant/r1/{name}")
    with pytest.raises(AlchemyError) as caught:
        run(context, Baseline(profile, "live release old"))
    assert caught.value.code is ErrorCode.DRIFT_STOP
    report = json.loads(context.lake.read("quant/r1/report.json"))
    assert report["validation"]["verdict"] == "stop"
    page = context.lake.read("quant/r1/report.html").decode()
    assert "<span class='verdict stop'>stop</span>" in page and "live release old" in page


def test_the_stored_contract_of_the_lake_is_used(context):
    context.lake.write("quant/contract.json", b'{"columns": {"reviewers": {}}}')
    with pytest.raises(AlchemyError, match="'reviewers' is missing") as caught:
        run(context)
    assert caught.value.code is ErrorCode.SCHEMA_BROKEN


def test_a_run_without_wash_names_what_is_missing(context, tmp_path):
    other = StageContext("r2", "quant", context.settings, context.lake, tmp_path / "other")
    with pytest.raises(AlchemyError, match=r"processed/r2/metrics\.parquet"):
        run(other)
