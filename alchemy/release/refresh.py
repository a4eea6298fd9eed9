"""Stage "refresh": the live release with a new index, for changes that must be answered from now.

Adapter, thresholds, prompts and models stay those of the live release, so nothing is trained or
calibrated again; what can get worse is retrieval, and the gate compares that. A full cycle follows
at its own pace.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from alchemy.config import RetrievalSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.search import Query, search
from alchemy.knowledge.snapshot import Snapshot
from alchemy.protocols import Embedder, Reranker
from alchemy.release import quant_weight, reranking
from alchemy.release.model import live_release, load_release, publish_release, used_model
from alchemy.release.report import RECALL_DEPTH, Asked, retrieval
from alchemy.release.retrieval import EncodeQueries, query_encoder
from alchemy.release.stage import release_id, release_receipt
from alchemy.release.suites import Case, build_cases
from alchemy.stage import StageContext, read_jsonl
from alchemy.stores.versions import read_manifest
from alchemy.types import Draft, Receipt, Release, SftPair

_QUESTIONS = 120
_NO_DRAFT = Draft("", "none", "", 0, 0.0)


def run(
    context: StageContext,
    embedder: Embedder,
    load_reranker: Callable[[], Reranker | None] = lambda: None,
) -> Receipt:
    """Publish the live release with this run's index, if retrieval is not worse with it.

    Idempotent: the same index gives the same release, and a live one is not published again.

    Args:
        load_reranker: gives the configured reranker; called where the live release uses one.

    Raises:
        AlchemyError: NOT_READY before the first full cycle; GATE_REFUSED with the reasons;
            CONFLICT when another run was faster.
    """
    index = context.receipt_of("index")
    live = live_release(context.lake)
    if live is None:
        raise AlchemyError(
            ErrorCode.NOT_READY,
            "there is no live release whose index could be replaced",
            "Run `data-alchemy full-cycle` once.",
        )
    version, sha256 = index.uri.rpartition("/")[2], read_manifest(context.lake, index.uri).sha256
    if live.index_sha256 == sha256:
        context.progress("refresh.unchanged", {"release": live.id})
        pointer = publish_release(context.lake, live)
        return release_receipt(context, live, pointer, {"index": index.sha256})
    reranker = used_model(live, reranking.ROLE, load_reranker)
    measured = _compare(context, embedder, reranker, live, (version, sha256))
    release = _published(context, live, version, sha256, measured)
    pointer = publish_release(context.lake, release)
    context.progress("refresh.published", {"release": release.id, "pointer": pointer})
    return release_receipt(context, release, pointer, {"index": index.sha256})


def _compare(
    context: StageContext,
    embedder: Embedder,
    reranker: Reranker | None,
    live: Release,
    new: tuple[str, str],
) -> dict[str, Any]:
    """Retrieval with the new index; GATE_REFUSED when it is below the live one's interval."""
    cache = context.settings.state_dir / "cache"
    before = Snapshot.fetch(context.lake, live.index, live.index_sha256, cache / "index")
    after = Snapshot.fetch(context.lake, *new, cache / "index")
    try:
        for snapshot in (before, after):
            snapshot.require_embedder(embedder)
        model = context.settings.model_b
        encode = query_encoder(context.lake, live, model, embedder, cache / "adapters")
        cases = _cases(context, live, after)
        seed = context.settings.evaluation.seed
        settings = quant_weight.released(context.settings.retrieval, live.thresholds)
        theirs, mine = (
            retrieval(_asked(settings, snapshot, encode, reranker, cases), seed)
            for snapshot in (before, after)
        )
    finally:
        before.close()
        after.close()
    worse = [
        f"{name} is {mine[name]['value']:.3f}, {live.id} has {theirs[name]['value']:.3f} "
        f"[{theirs[name]['low']:.3f}, {theirs[name]['high']:.3f}]"
        for name in ("recall@10", "mrr@10")
        if cases and mine[name]["value"] < theirs[name]["low"]
    ]
    verdict = {"live": live.id, "index": new[0], "passed": not worse, "reasons": worse}
    context.lake.write(
        f"runs/{context.run_id}/refresh/verdict.json",
        json.dumps({**verdict, "before": theirs, "after": mine}, indent=1).encode(),
    )
    context.progress("refresh.verdict", {"passed": not worse, "questions": len(cases)})
    if worse:
        raise AlchemyError(
            ErrorCode.GATE_REFUSED,
            f"the index {new[0]} stays back: {'; '.join(worse)}",
            f"{live.id} goes on serving; the verdict is in "
            f"runs/{context.run_id}/refresh/verdict.json.",
        )
    return mine


def _cases(context: StageContext, live: Release, after: Snapshot) -> list[Case]:
    """Held-out questions of the live release whose documents are still there."""
    pairs = read_jsonl(context.fetch(f"sft/{live.run_id}/sft_eval.jsonl"), SftPair)
    known = [
        pair
        for pair in pairs
        if all(len(after.catalog.rows_of(document)) for document in pair.document_ids)
    ]
    if not known:
        return []
    cases = build_cases(known, _QUESTIONS, context.settings.evaluation.seed)
    return [case for case in cases if case.answerable]


def _asked(
    settings: RetrievalSettings,
    snapshot: Snapshot,
    encode: EncodeQueries,
    reranker: Reranker | None,
    cases: Sequence[Case],
) -> list[Asked]:
    if not cases:
        return []
    vectors = encode([case.question for case in cases])
    queries = [
        Query(case.question, vector, case.principal, RECALL_DEPTH)
        for case, vector in zip(cases, vectors, strict=True)
    ]
    found = search(snapshot, queries, settings, reranker)
    return [
        Asked(case, passages, passages, _NO_DRAFT)
        for case, passages in zip(cases, found, strict=True)
    ]


def _published(
    context: StageContext, live: Release, version: str, sha256: str, measured: dict[str, Any]
) -> Release:
    identity = release_id(
        sha256,
        live.adapter_digest,
        live.thresholds,
        live.models,
        live.prompts,
        live.retrieval_digest,
    )
    try:
        return load_release(context.lake, identity)
    except AlchemyError as error:
        if error.code is not ErrorCode.NOT_FOUND:
            raise
    return replace(
        live,
        id=identity,
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        index=version,
        index_sha256=sha256,
        evaluation={**live.evaluation, "retrieval": measured},
        parent=live.id,
        reason=f"index {version} instead of {live.index}; retrieval is not worse",
    )
