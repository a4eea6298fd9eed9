"""A base model made from a small corpus, pairs about it, and a lake to publish to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_world import MODEL, document, pair

from alchemy.stage import write_jsonl
from alchemy.stores.lake_local import LocalLake

# tiny matrices: threads would cost more than they give
torch.set_num_threads(1)


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path / "lake")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "cleaned_corpus.jsonl"
    write_jsonl(path, [document(number) for number in range(40)])
    return path


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of 28 pairs to train on and 8 held out."""
    directory = tmp_path_factory.mktemp("pairs")
    files = (directory / "sft_train.jsonl", directory / "sft_eval.jsonl")
    for path, numbers in zip(files, (range(28), range(32, 40)), strict=True):
        write_jsonl(path, [pair(number) for number in numbers])
    return files


@pytest.fixture(scope="session")
def base_dir(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base, as it was published and fetched."""
    from alchemy.training.base import build_base, fetch_base

    scratch = tmp_path_factory.mktemp("base")
    lake = LocalLake(scratch / "lake")
    build_base(lake, MODEL, corpus, scratch)
    torch.set_num_threads(1)  # building a base takes all cores
    return fetch_base(lake, MODEL, scratch / "cache")[0]
