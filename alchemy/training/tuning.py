"""Stage `tune` around the training of queries: which pairs, what goes to the worker, what comes back.

A run without enough pairs, or with a model that is not ours to extend, has no retrieval adapter:
its receipt then says why, and names no adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alchemy.protocols import Lake
from alchemy.stage import StageContext, read_jsonl, write_jsonl
from alchemy.stores.versions import read_manifest
from alchemy.training.adapters import ROOT, publish_retrieval_adapter
from alchemy.training.retrieval_pairs import RetrievalPair, balanced, corpus_pairs, split_pairs
from alchemy.types import Chunk, Document, Receipt, SftPair, text_digest

CORPUS, CHUNKS, QUESTIONS = "cleaned_corpus.jsonl", "rag_chunks.jsonl", "sft_train.jsonl"
EVALUATION = "sft_eval.jsonl"
TRAIN, STOPPING, HELD_OUT = "train.jsonl", "stopping.jsonl", "held_out.jsonl"
LEAST_PAIRS = 50
"""Fewer pairs that people made teach chance."""


@dataclass(frozen=True)
class TunePlan:
    """What the worker trains, by lake key.

    Attributes:
        name: of the attempt; changes with anything that changes the adapter.
        root: lake prefix of the pairs.
        embedder: digest under which the chunks' vectors are cached; they have length `dim`.
        checkpoints: lake prefix the worker's result is left under.
    """

    name: str
    root: str
    chunks_key: str
    embedder: str
    dim: int
    checkpoints: str


@dataclass(frozen=True)
class Pairs:
    """A run's pairs: to learn, to stop at, and to be measured by when all is done."""

    train: list[RetrievalPair]
    stopping: list[RetrievalPair]
    held_out: list[RetrievalPair]


def gather(context: StageContext) -> Pairs:
    """The pairs of this run; none of the documents that `evaluate` asks about is learned."""
    wash, refine = context.receipt_of("wash"), context.receipt_of("refine")
    settings = context.settings.tuning
    pairs = corpus_pairs(
        read_jsonl(context.fetch(f"{wash.uri}/{CORPUS}"), Document),
        read_jsonl(context.fetch(f"{wash.uri}/{CHUNKS}"), Chunk),
        read_jsonl(context.fetch(f"{refine.uri}/{QUESTIONS}"), SftPair),
    )
    asked = read_jsonl(context.fetch(f"{refine.uri}/{EVALUATION}"), SftPair)
    tested = {document for pair in asked for document in pair.document_ids}
    left = [pair for pair in pairs if not tested.intersection(pair.documents)]
    share, most = settings.held_out_share, settings.held_out_pairs
    rest, held_out = split_pairs(left, share, most, settings.seed)
    train, stopping = split_pairs(rest, share, most, settings.seed + 1)
    learned = balanced(train, settings.title_ratio, settings.max_pairs, settings.seed)
    return Pairs(learned, stopping, held_out)


def plan(context: StageContext) -> TunePlan | str:
    """Store the pairs and say what to train; or why there is nothing to train."""
    settings = context.settings
    if not settings.tuning.enabled:
        return "tuning.enabled is false"
    if settings.model_b.provider != "embedded":
        return f"model_b is of provider {settings.model_b.provider!r}"
    pairs = gather(context)
    made = sum(pair.kind != "title" for pair in pairs.train)
    if made < LEAST_PAIRS or not pairs.stopping or not pairs.held_out:
        return f"{made} pairs that people made are fewer than {LEAST_PAIRS}"
    root = f"runs/{context.run_id}/tune"
    digests: list[str] = []
    for name, part in _named(pairs):
        path = context.out(name)
        write_jsonl(path, part)
        context.lake.upload(f"{root}/{name}", path)
        digests += [pair.id for pair in part]
    wash, index = context.receipt_of("wash"), context.receipt_of("index")
    manifest = read_manifest(context.lake, index.uri)
    embedder = str(manifest.meta["embedder"])
    shaping = (settings.model_b.model_dump_json(), settings.tuning.model_dump_json())
    context.progress("tune.planned", {name: len(part) for name, part in _named(pairs)})
    return TunePlan(
        name=f"tune-{text_digest(embedder, wash.sha256, *digests, *shaping)[:12]}",
        root=root,
        chunks_key=f"{wash.uri}/{CHUNKS}",
        embedder=embedder,
        dim=int(manifest.meta["dim"]),
        checkpoints=f"{root}/checkpoints",
    )


def fetch_pairs(lake: Lake, plan: TunePlan, name: str, scratch: Path) -> list[RetrievalPair]:
    """The stored pairs of one part."""
    path = scratch / name
    lake.download(f"{plan.root}/{name}", path)
    return list(read_jsonl(path, RetrievalPair))


def held_out_pairs(context: StageContext) -> list[RetrievalPair]:
    """The pairs of this run that neither trained its adapter nor chose the best epoch."""
    key = f"runs/{context.run_id}/tune/{HELD_OUT}"
    return list(read_jsonl(context.fetch(key), RetrievalPair))


def publish(context: StageContext, plan: TunePlan, trained: Path) -> Receipt:
    """Publish the adapter and describe it; an adapter that is no better is not published."""
    from alchemy.models.query_adapter import tunable_base
    from alchemy.training.retrieval import read_tuned

    tuned = read_tuned(trained)
    if tuned.best_epoch == 0:
        return nothing(context, "no epoch was better than the base on held-out pairs")
    settings = context.settings
    _, base = tunable_base(settings.model_b)
    pairs = fetch_pairs(context.lake, plan, TRAIN, context.scratch)
    manifest = publish_retrieval_adapter(
        context.lake,
        trained,
        base_digest=base,
        pairs=pairs,
        tuning=settings.tuning,
        tuned=tuned,
    )
    root = f"{ROOT}/{manifest.version}"
    context.progress("tune.published", {"adapter": manifest.version, "ndcg": tuned.ndcg})
    return context.receipt(
        root,
        {f"{root}/{name}": digest for name, digest in manifest.files.items()},
        size=manifest.bytes,
        rows=tuned.train_pairs,
        schema=sorted(manifest.files),
        inputs=_inputs(context),
        counts={
            "train_pairs": tuned.train_pairs,
            "held_out_pairs": tuned.held_out_pairs,
            "epochs": tuned.epochs,
            "best_epoch": tuned.best_epoch,
            "base_ndcg": tuned.base_ndcg,
            "ndcg": tuned.ndcg,
        },
    )


def nothing(context: StageContext, reason: str) -> Receipt:
    """The receipt of a run that has no retrieval adapter."""
    context.progress("tune.skipped", {"reason": reason})
    root = f"runs/{context.run_id}/tune"
    return context.receipt(root, {}, size=0, rows=0, schema=(), inputs=_inputs(context))


def adapter_of(receipt: Receipt) -> str:
    """Version of the adapter that a tune receipt names; empty for none."""
    return receipt.uri.removeprefix(f"{ROOT}/") if receipt.files else ""


def _inputs(context: StageContext) -> dict[str, str]:
    return {stage: context.receipt_of(stage).sha256 for stage in ("wash", "refine", "index")}


def _named(pairs: Pairs) -> Sequence[tuple[str, list[RetrievalPair]]]:
    return ((TRAIN, pairs.train), (STOPPING, pairs.stopping), (HELD_OUT, pairs.held_out))
