from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from knowledge_fixtures import BagOfWords, SnapshotOf, open_snapshot

from alchemy.knowledge.snapshot import Snapshot
from alchemy.types import Chunk, Insight


@pytest.fixture
def embedder() -> BagOfWords:
    return BagOfWords()


@pytest.fixture
def snapshot_of(tmp_path: Path, embedder: BagOfWords) -> SnapshotOf:
    """Build and open an index of some chunks."""

    def build(chunks: Sequence[Chunk], insights: Iterable[Insight] = ()) -> Snapshot:
        return open_snapshot(tmp_path / "index", embedder, chunks, insights)

    return build
