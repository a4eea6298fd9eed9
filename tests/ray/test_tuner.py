"""Stage "tune" on a real Ray cluster: a team's own words are learned from its commits' links."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors import tuner
from alchemy.cleaning.chunking import chunk_document
from alchemy.cleaning.tokens import wordpiece
from alchemy.config import LakeSettings, ModelSettings, Settings, TuningSettings
from alchemy.knowledge import stage as index_stage
from alchemy.models.query_adapter import AdaptedQueries, tunable_base
from alchemy.models.registry import load_embedder
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.training import tuning
from alchemy.training.adapters import fetch_adapter
from alchemy.types import Document, JsonRecord

pytestmark = pytest.mark.usefixtures("ray_cluster")

RUN = "run-tune"
PARTS = {
    "kraken": "payment service",
    "lantern": "user login page",
    "mosaic": "image gallery",
    "orbit": "nightly backup job",
    "pebble": "search index",
    "quartz": "calendar reminder",
    "raven": "email delivery",
    "sable": "invoice printing",
    "tundra": "customer import",
    "umber": "color theme",
}
FAULTS = (
    "crashes after the upgrade",
    "is slow in the morning",
    "loses its settings",
    "shows the wrong time zone",
    "needs a retry when the network drops",
    "has no log of what happened",
    "cannot be stopped",
    "ignores the second attempt",
    "fills the disk",
    "asks for a password twice",
)


def _record(identity: str, title: str, text: str, keys: tuple[str, ...] = ()) -> Document:
    extra = {"jira_keys": list(keys)} if keys else {}
    source = identity.partition(":")[0]
    return Document(identity, source, title, text, identity, "default", ("everyone",), extra=extra)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lake in which everything before `tune` has run."""
    settings = Settings(
        lake=LakeSettings(root=str(tmp_path / "lake")),
        model_b=ModelSettings(device="cpu", dtype="float32"),
        tuning=TuningSettings(
            enabled=True, epochs=4, batch_size=8, learning_rate=1e-3, max_tokens=32, title_ratio=0
        ),
    )
    lake = LocalLake(tmp_path / "lake")
    documents: list[Document] = []
    for name, part in PARTS.items():
        for fault in FAULTS:
            key = f"AB-{len(documents) // 2 + 1}"
            title = f"{key}: {name} {fault}"
            documents += [
                _record(f"jira:{key}", f"The {part} {fault}", f"Seen in the {part} today."),
                _record(f"git_pr:{len(documents):07x}", title, f"Work on {name}.", (key,)),
            ]
    chunks = [c for d in documents for c in chunk_document(d, wordpiece(), 180)]

    def done(stage: str, prefix: str, files: dict[str, list[JsonRecord]]) -> None:
        context = StageContext(RUN, stage, settings, lake, tmp_path / stage)
        paths = {name: context.out(name) for name in files}
        for name, records in files.items():
            write_jsonl(paths[name], records)
        receipt = context.finish(f"{prefix}/{RUN}", paths, rows=1, schema=(), inputs={})
        write_receipt(lake, receipt)

    done("wash", "processed", {tuning.CORPUS: [*documents], tuning.CHUNKS: [*chunks]})
    done("quant", "quant", {"insights.jsonl": []})
    done("refine", "sft", {tuning.QUESTIONS: [], tuning.EVALUATION: []})
    context = StageContext(RUN, "index", settings, lake, tmp_path / "index")
    write_receipt(lake, index_stage.run(context, load_embedder(settings.model_b)))
    return settings


def test_a_run_publishes_an_adapter_that_found_more_of_what_it_had_not_seen(
    settings: Settings, tmp_path: Path
) -> None:
    receipt = tuner.start(settings, RUN, None)
    version = tuning.adapter_of(receipt)
    assert version.startswith("rt-")
    assert receipt.counts["ndcg"] > receipt.counts["base_ndcg"]
    lake = LocalLake(Path(settings.lake.root))
    _, base = tunable_base(settings.model_b)
    directory, _ = fetch_adapter(lake, version, tmp_path / "cache", base)
    vectors = AdaptedQueries(settings.model_b, directory).encode_queries(["kraken fills the disk"])
    assert vectors.shape == (1, 384)
    # what Ray Train kept on the way is gone
    assert not list(lake.list(f"runs/{RUN}/tune/checkpoints/"))


def test_a_run_whose_tuning_is_off_names_no_adapter(settings: Settings) -> None:
    off = settings.model_copy(update={"tuning": TuningSettings(enabled=False)})
    assert tuning.adapter_of(tuner.start(off, RUN, None)) == ""
