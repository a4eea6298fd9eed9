from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors import refiner
from alchemy.cleaning import pii
from alchemy.config import LakeSettings, ModelSettings, Settings
from alchemy.connectors.feedback import read_feedback
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.synthesis import stage
from alchemy.types import PUBLIC_GROUP, Chunk, Insight

pytestmark = pytest.mark.usefixtures("ray_cluster")

CHUNKS = 700
"""More than two units of work."""


def make_chunk(number: int) -> Chunk:
    text = f"The container number {number} loses its module when the network fails."
    return Chunk(
        id=f"jira:XD-{number:03}#0",
        document_id=f"jira:XD-{number:03}",
        source="jira",
        title=f"Container {number} loses modules",
        uri="",
        tenant="default",
        acl=(PUBLIC_GROUP,),
        text=text,
        ordinal=0,
        start=0,
        end=len(text),
    )


def washed(root: Path) -> Settings:
    """A lake in which run-1 is washed and measured and one rating is approved."""
    settings = Settings(lake=LakeSettings(root=str(root / "lake")))
    lake = LocalLake(settings.lake.root)
    outputs = {
        "wash": ("processed", "rag_chunks.jsonl", [make_chunk(i) for i in range(CHUNKS)]),
        "quant": ("quant", "insights.jsonl", [Insight("jira:XD-600", "XD-600 is large.")]),
    }
    for name, (prefix, file, records) in outputs.items():
        context = StageContext("run-1", name, settings, lake, root / "scratch")
        write_jsonl(context.out(file), records)
        files = {file: context.out(file)}
        receipt = context.finish(f"{prefix}/run-1", files, rows=len(records), schema=(), inputs={})
        write_receipt(lake, receipt)
    rating = {
        "id": "20240101-0",
        "answer_id": "a",
        "question": "Who restarts containers?",
        "answer_text": "Nobody.",
        "rating": "down",
        "correction": "Write to ops@example.org, they restart it [1].",
        "comment": None,
        "user": "u",
        "tenant": "default",
        "acl": [PUBLIC_GROUP],
        "citations": [{"document_id": "jira:XD-001", "chunk_id": "jira:XD-001#0"}],
        "release": "r",
        "status": "approved",
        "created_at": "2024-01-01T00:00:00Z",
    }
    lake.write("feedback/2024/01/01/20240101-0.json", json.dumps(rating).encode())
    return settings


def test_pairs_written_on_ray_are_the_same_bytes_as_here(tmp_path: Path) -> None:
    settings = washed(tmp_path)
    receipt = refiner.start(settings, "run-1", None)
    assert receipt.counts["chunks"] == CHUNKS
    assert receipt.counts["feedback"] == 1

    lake = LocalLake(settings.lake.root)
    here = StageContext("run-1", "refine", settings, lake, tmp_path / "here")
    again = stage.run(here, read_feedback(lake), pii.redact_together)
    assert again.files == receipt.files
    assert again.counts == receipt.counts

    lines = b"".join(lake.read(key) for key in receipt.files).decode()
    assert "XD-600 is large." in lines
    assert "Write to [EMAIL_1], they restart it." in lines
    assert "ops@example.org" not in lines


def test_a_model_that_cannot_be_used_is_the_stages_error(tmp_path: Path) -> None:
    model = ModelSettings(provider="openai", base_url="http://127.0.0.1:9/v1", model_id="m")
    settings = washed(tmp_path).model_copy(update={"model_a": model})
    with pytest.raises(AlchemyError, match="allow_remote") as raised:
        refiner.start(settings, "run-1", None)
    assert raised.value.code is ErrorCode.REMOTE_FORBIDDEN
