"""The base model: built once per lake, found by everyone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_world import MODEL as TRAINED
from training_world import TINY as LEARNING
from training_world import document

from alchemy.config import LakeSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.weights import weights_digest
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.training import base
from alchemy.training.base import build_base, fetch_base, published_base
from alchemy.types import Receipt

# what is told here does not depend on how much the base learned
TINY = LEARNING.model_copy(update={"steps": 3})
MODEL = TRAINED.model_copy(update={"small_llama": TINY})


def context(lake: LocalLake, scratch: Path, run_id: str = "run-1", model=MODEL) -> StageContext:
    scratch.mkdir(parents=True)
    settings = Settings(model_c=model, lake=LakeSettings(root=str(lake.root)))
    return StageContext(run_id, "base", settings, lake, scratch)


def washed(lake: LocalLake, corpus: Path, run_id: str = "run-1") -> None:
    lake.upload(f"processed/{run_id}/cleaned_corpus.jsonl", corpus)
    receipt = Receipt(run_id, "wash", f"processed/{run_id}", 1, 1, "0" * 64, (), {}, 0.0)
    write_receipt(lake, receipt)


@pytest.fixture(autouse=True)
def one_thread():
    yield
    torch.set_num_threads(1)


def test_the_stage_builds_once_and_then_reuses(
    lake: LocalLake, corpus: Path, tmp_path: Path
) -> None:
    washed(lake, corpus)
    first = base.run(context(lake, tmp_path / "1"))
    assert first.counts["reused"] == 0
    assert first.counts["steps"] == TINY.steps
    assert first.counts["parameters"] > 10_000
    # another run, with nothing washed yet: the base does not depend on it
    second = base.run(context(lake, tmp_path / "2", "run-2"))
    assert second.counts["reused"] == 1
    assert (second.uri, second.sha256) == (first.uri, first.sha256)
    assert all(lake.exists(key) for key in first.files)


def test_everyone_fetches_the_same_directory_and_digest(
    lake: LocalLake, corpus: Path, tmp_path: Path
) -> None:
    build_base(lake, MODEL, corpus, tmp_path)
    directory, digest = fetch_base(lake, MODEL, tmp_path / "cache")
    assert fetch_base(lake, MODEL, tmp_path / "cache") == (directory, digest)
    assert fetch_base(lake, MODEL, tmp_path / "elsewhere")[1] == digest == weights_digest(directory)


def test_the_same_corpus_gives_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    manifests = [
        build_base(LocalLake(tmp_path / name), MODEL, corpus, tmp_path / f"scratch-{name}")[1]
        for name in ("a", "b")
    ]
    assert manifests[0].files == manifests[1].files


def test_of_two_builders_the_first_to_publish_wins(
    lake: LocalLake, corpus: Path, tmp_path: Path
) -> None:
    first, _ = build_base(lake, MODEL, corpus, tmp_path / "1")
    other = tmp_path / "other.jsonl"
    write_jsonl(other, [document(number) for number in range(50)])
    second, _ = build_base(lake, MODEL, other, tmp_path / "2")
    assert first == second == published_base(lake, MODEL)


def test_other_settings_are_another_base(lake: LocalLake, corpus: Path, tmp_path: Path) -> None:
    build_base(lake, MODEL, corpus, tmp_path)
    wider = MODEL.model_copy(update={"small_llama": TINY.model_copy(update={"heads": 1})})
    assert published_base(lake, wider) is None


def test_a_base_that_was_not_built_says_how_to_build_it(lake: LocalLake, tmp_path: Path) -> None:
    with pytest.raises(AlchemyError) as caught:
        fetch_base(lake, MODEL, tmp_path)
    assert caught.value.code is ErrorCode.NOT_READY
    assert "base" in caught.value.remedy


def test_the_base_knows_which_documents_it_learned_from(
    lake: LocalLake, corpus: Path, tmp_path: Path
) -> None:
    root, manifest = build_base(lake, MODEL, corpus, tmp_path)
    lineage = json.loads(lake.read(f"{root}/lineage.json"))
    assert lineage["documents"]["jira:XD-7"] == "hash-7"
    assert manifest.meta["documents"] == len(lineage["documents"]) == 40


def test_too_little_text_is_refused(lake: LocalLake, tmp_path: Path) -> None:
    corpus = tmp_path / "cleaned_corpus.jsonl"
    for documents in ([], [document(1).__class__(**{**document(1).to_dict(), "text": "x"})]):
        write_jsonl(corpus, documents)
        with pytest.raises(AlchemyError) as caught:
            build_base(lake, MODEL, corpus, tmp_path / "scratch")
        assert caught.value.code is ErrorCode.INPUT_INVALID


def test_a_local_model_is_recorded_not_copied(
    lake: LocalLake, base_dir: Path, tmp_path: Path
) -> None:
    model = MODEL.model_copy(update={"provider": "huggingface", "model_path": str(base_dir)})
    receipt = base.run(context(lake, tmp_path / "1", model=model))
    assert receipt.counts["reused"] == 1
    record = json.loads(lake.read(f"{receipt.uri}/model.json"))
    assert fetch_base(lake, model, tmp_path / "cache") == (base_dir, record["weights"])
    assert not list(lake.list("models/"))
