"""The four quant actors over a lake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actors import quant
from alchemy.config import Settings, load_settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.release.model import publish_release
from alchemy.stage import write_receipt
from alchemy.stores import open_lake
from alchemy.types import Document, Receipt, Release


def _washed(settings: Settings, tmp_path: Path, run_id: str, shift: float) -> None:
    rng = np.random.default_rng(1)
    lake = open_lake(settings.lake)
    pl.DataFrame(
        {
            "document_id": [f"jira:XD-{i}" for i in range(200)],
            "source": ["jira"] * 200,
            "created_at": [None] * 200,
            "updated_at": [None] * 200,
            "story_points": rng.normal(size=200) + shift,
            "text_length": rng.normal(size=200),
        },
        schema_overrides={"created_at": pl.String, "updated_at": pl.String},
    ).write_parquet(tmp_path / "metrics.parquet")
    lake.upload(f"processed/{run_id}/metrics.parquet", tmp_path / "metrics.parquet")
    documents = [
        Document(f"jira:XD-{i}", "jira", f"Issue {i}", "Text.", "", "default", ("everyone",))
        for i in range(200)
    ]
    corpus = "".join(f"{document.to_json()}\n" for document in documents)
    lake.write(f"processed/{run_id}/cleaned_corpus.jsonl", corpus.encode())
    lake.write(f"processed/{run_id}/copies.jsonl", b"")
    receipt = Receipt(run_id, "wash", f"processed/{run_id}", 200, 1, "abc", (), {}, 0.1)
    write_receipt(lake, receipt)


def _release(run_id: str) -> Release:
    return Release("rel1", "2024-01-01T00:00:00Z", run_id, "i", "s", "a", "d", {}, {}, {}, {})


def test_four_actors_hand_over_through_the_lake_and_drift_from_the_live_release_stops(
    ray_cluster: None, tmp_path: Path
) -> None:
    settings = load_settings("models.yaml", {"ALCHEMY_DATA": str(tmp_path / "lake")})
    lake = open_lake(settings.lake)
    _washed(settings, tmp_path, "r1", shift=0.0)
    receipt = quant.start(settings, "r1", None)
    assert receipt.stage == "quant" and receipt.rows == 200
    assert receipt.counts["features_kept"] == 5
    assert {o.key for o in lake.list("quant/r1/")} == set(receipt.files)

    publish_release(lake, _release("r1"))
    _washed(settings, tmp_path, "r2", shift=9.0)
    with pytest.raises(AlchemyError) as caught:
        quant.start(settings, "r2", None)
    assert caught.value.code is ErrorCode.DRIFT_STOP
    assert "'story_points'" in caught.value.message and "live release rel1" in caught.value.message
    report = json.loads(lake.read("quant/r2/report.json"))
    assert report["validation"]["verdict"] == "stop"
