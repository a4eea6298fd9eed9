"""Stage "release": index, adapter and evaluation → one immutable release, made live by the gate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.logs import get_logger
from alchemy.models.weights import ADAPTER_WEIGHTS
from alchemy.release.evaluate import EVALUATION_FILE
from alchemy.release.gate import judge
from alchemy.release.model import live_release, load_release, publish_release
from alchemy.release.moving import withdrawal
from alchemy.stage import StageContext
from alchemy.stores.versions import read_manifest
from alchemy.types import Receipt, Release, text_digest

_OWN_FIELDS = ("thresholds", "models", "prompts", "run_id", "index", "adapter")
"""Parts of `evaluation.json` that are fields of the release themselves."""


def run(context: StageContext) -> Receipt:
    """Build the release of this run, ask the gate, and move the pointer.

    Idempotent: the same parts give the same id, and a live release is not published again. The
    verdict is kept as `runs/<run_id>/release/verdict.json`.

    Raises:
        AlchemyError: GATE_REFUSED with the reasons; CONFLICT when another run was faster.
    """
    index, train, evaluate = (context.receipt_of(s) for s in ("index", "train", "evaluate"))
    evaluation = json.loads(context.lake.read(f"{evaluate.uri}/{EVALUATION_FILE}"))
    candidate = _candidate(context, index, train, evaluation)
    live = live_release(context.lake)
    if live is not None and live.id == candidate.id:
        release, pointer = live, publish_release(context.lake, live)
        context.progress("release.unchanged", {"release": release.id})
    else:
        release, pointer = _promote(context, candidate, live)
    inputs = {"index": index.sha256, "train": train.sha256, "evaluate": evaluate.sha256}
    return release_receipt(context, release, pointer, inputs)


def release_receipt(
    context: StageContext, release: Release, pointer: int, inputs: Mapping[str, str]
) -> Receipt:
    """The receipt of a stage that published a release."""
    key = f"releases/{release.id}.json"
    stored = context.lake.read(key)
    return context.receipt(
        key,
        {key: hashlib.sha256(stored).hexdigest()},
        size=len(stored),
        rows=1,
        schema=tuple(release.to_dict()),
        inputs=inputs,
        counts={"pointer": pointer},
    )


def release_id(
    index_sha256: str,
    adapter_digest: str,
    thresholds: Mapping[str, float],
    models: Mapping[str, str],
    prompts: Mapping[str, str],
    retrieval_digest: str = "",
) -> str:
    """`rl-<12 hex>` over everything an answer depends on; not over when or why it was made."""
    parts = [json.dumps(dict(p), sort_keys=True) for p in (thresholds, models, prompts)]
    parts += [retrieval_digest] if retrieval_digest else []
    return f"rl-{text_digest(index_sha256, adapter_digest, *parts)[:12]}"


def _candidate(
    context: StageContext, index: Receipt, train: Receipt, evaluation: Mapping[str, Any]
) -> Release:
    weights = f"{train.uri}/{ADAPTER_WEIGHTS}"
    if weights not in train.files:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"the train receipt of run {context.run_id} names no {weights}",
            "Run stage 'train' again.",
        )
    index_sha256 = read_manifest(context.lake, index.uri).sha256
    thresholds, models, prompts = (evaluation[k] for k in ("thresholds", "models", "prompts"))
    retrieval, retrieval_digest = _retrieval_adapter(evaluation)
    identity = release_id(
        index_sha256, train.files[weights], thresholds, models, prompts, retrieval_digest
    )
    return Release(
        id=identity,
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        run_id=context.run_id,
        index=index.uri.rpartition("/")[2],
        index_sha256=index_sha256,
        adapter=train.uri.rpartition("/")[2],
        adapter_digest=train.files[weights],
        thresholds=thresholds,
        models=models,
        prompts=prompts,
        evaluation={k: v for k, v in evaluation.items() if k not in _OWN_FIELDS},
        retrieval=retrieval,
        retrieval_digest=retrieval_digest,
    )


def _retrieval_adapter(evaluation: Mapping[str, Any]) -> tuple[str, str]:
    """Version and digest of the adapter that was measured better than the base; empty for none."""
    judged = evaluation.get("retrieval_adapter")
    return (judged["version"], judged["digest"]) if judged and judged["used"] else ("", "")


def _promote(
    context: StageContext, candidate: Release, live: Release | None
) -> tuple[Release, int]:
    """Ask the gate and publish; a release that exists already is published as it stands."""
    verdict = judge(
        candidate.evaluation,
        live.evaluation if live is not None else None,
        live.id if live is not None else None,
    )
    record = {
        "release": candidate.id,
        "live": live.id if live is not None else None,
        **verdict.to_dict(),
    }
    context.lake.write(
        f"runs/{context.run_id}/release/verdict.json", json.dumps(record, indent=1).encode()
    )
    context.progress("release.verdict", record)
    withdrawn = withdrawal(context.lake, candidate.id)
    if withdrawn is not None:
        raise AlchemyError(
            ErrorCode.GATE_REFUSED,
            f"release {candidate.id} stays back: {withdrawn['by']} rolled it back"
            f"{': ' + withdrawn['reason'] if withdrawn['reason'] else ''}",
            f"`alchemy releases promote {candidate.id}` makes it live all the same.",
        )
    if not verdict.passed:
        get_logger().warning("release.refused", **record)
        raise AlchemyError(
            ErrorCode.GATE_REFUSED,
            f"release {candidate.id} stays back: {'; '.join(verdict.reasons)}",
            f"The verdict is in runs/{context.run_id}/release/verdict.json; "
            f"{live.id if live is not None else 'no release'} goes on serving.",
        )
    try:
        release = load_release(context.lake, candidate.id)
    except AlchemyError as error:
        if error.code is not ErrorCode.NOT_FOUND:
            raise
        release = Release.from_dict(
            {
                **candidate.to_dict(),
                "parent": live.id if live is not None else None,
                "reason": "; ".join(verdict.reasons),
            }
        )
    pointer = publish_release(context.lake, release)
    get_logger().info("release.published", release=release.id, pointer=pointer)
    context.progress("release.published", {"release": release.id, "pointer": pointer})
    return release, pointer
