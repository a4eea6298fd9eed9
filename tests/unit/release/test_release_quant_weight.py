"""The weight of the quant signal: found where links follow the numbers, else nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from release_world import Words

from alchemy.config import RetrievalSettings
from alchemy.knowledge.build import write_index
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import FORMAT, Snapshot
from alchemy.release import quant_weight
from alchemy.stores.versions import Manifest
from alchemy.training.retrieval_pairs import RetrievalPair
from alchemy.types import Chunk, Insight, Principal

TOPICS = 60
SETTINGS = RetrievalSettings()


def twins(directory: Path, signals: np.ndarray | None) -> Snapshot:
    """Two issues of each topic with the same words; `signals` are the numbers of the second."""
    chunks = [
        Chunk(
            id=f"jira:{n:03d}-{side}#0",
            document_id=f"jira:{n:03d}-{side}",
            source="jira",
            title=f"Topic{n} fails",
            uri="",
            tenant="default",
            acl=("everyone",),
            text=f"topic{n} fails when part{n} restarts",
            ordinal=0,
            start=0,
            end=10,
        )
        for n in range(TOPICS)
        for side in ("a", "b")
    ]
    told = [] if signals is None else zip(range(TOPICS), signals, strict=True)
    insights = [Insight(f"jira:{n:03d}-b", "Large.", {}, float(value)) for n, value in told]
    embedder = Words()
    write_index(directory, chunks, embedder.encode([c.text for c in chunks]), insights)
    meta = {"format": FORMAT, "embedder": embedder.digest}
    return Snapshot.open(directory, Manifest("ix-test", {}, 0, "0" * 64, meta))


def links(sides: str) -> list[RetrievalPair]:
    """A commit about each topic that names one of the two issues."""
    everyone = ("everyone",)
    return [
        RetrievalPair(f"topic{n} restarts", (f"jira:{n:03d}-{side}",), "link", "default", everyone)
        for n, side in enumerate(sides)
    ]


def fitted(snapshot: Snapshot, pairs: list[RetrievalPair]) -> dict[str, object]:
    return quant_weight.fit(snapshot, Words().encode, [], pairs, SETTINGS, 13)


@pytest.mark.parametrize(("signal", "sign"), [(0.95, 1), (0.05, -1)])
def test_links_that_follow_the_signal_give_it_a_weight(
    tmp_path: Path, signal: float, sign: int
) -> None:
    """The named issue is the one with high numbers, or the one without low ones."""
    snapshot = twins(tmp_path / "ix", np.full(TOPICS, signal))
    judged = fitted(snapshot, links("b" * TOPICS if sign > 0 else "a" * TOPICS))
    if sign < 0:
        assert judged["weight"] == 0, "without weight the first twin leads anyway: nothing to gain"
        return
    assert judged["weight"] > 0 and judged["difference"]["low"] > 0  # type: ignore[operator,index]
    settings = quant_weight.released(SETTINGS, {quant_weight.WEIGHT: float(judged["weight"])})  # type: ignore[arg-type]
    who = Principal("u", "default", ("everyone",))
    question = "topic7 restarts"
    query = Query(question, Words().encode([question])[0], who, 2)
    (before,), (after,) = (search(snapshot, [query], s) for s in (SETTINGS, settings))
    assert [p.chunk.document_id for p in before] == ["jira:007-a", "jira:007-b"]
    assert [p.chunk.document_id for p in after] == ["jira:007-b", "jira:007-a"]
    first = after[0]
    assert first.signals["quant_share"] == pytest.approx(float(judged["weight"]) * 0.45)  # type: ignore[arg-type]
    assert first.signals["fused"] == pytest.approx(
        before[1].signals["fused"] + first.signals["quant_share"], abs=1e-5
    )


def test_links_that_have_nothing_to_do_with_the_signal_give_none(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    snapshot = twins(tmp_path / "ix", chance.uniform(size=TOPICS))
    sides = "".join(chance.choice(["a", "b"], TOPICS))
    assert fitted(snapshot, links(sides))["weight"] == 0


def test_without_links_or_without_signals_it_is_zero(tmp_path: Path) -> None:
    plain = twins(tmp_path / "plain", None)
    assert fitted(plain, links("b" * TOPICS)) == {"weight": 0.0, "probes": TOPICS}
    marked = twins(tmp_path / "marked", np.full(TOPICS, 0.9))
    assert fitted(marked, links("b" * 5)) == {"weight": 0.0, "probes": 5}
