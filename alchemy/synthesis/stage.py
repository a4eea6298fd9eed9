"""Stage "refine": chunks, insights and approved feedback → training pairs and held-out pairs."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from alchemy.config import Settings, SynthesisSettings
from alchemy.protocols import Lake, Redact
from alchemy.stage import StageContext, read_jsonl
from alchemy.synthesis.card import CARD, counted, dataset_card
from alchemy.synthesis.feedback import DocumentAccess, Rated, approved_pairs
from alchemy.synthesis.refining import (
    Refined,
    RefineUnit,
    make_writer,
    plan_units,
    refine_unit,
)
from alchemy.synthesis.verification import question_key
from alchemy.types import Chunk, Insight, Receipt, SftPair, text_digest

Spread = Callable[[Sequence[RefineUnit], Settings], Iterable[Refined]]
"""Units → their results in the same order; the Refiner actor passes one that runs on Ray Data."""


def run(
    context: StageContext, ratings: Iterable[Rated], redact: Redact, spread: Spread | None = None
) -> Receipt:
    """Write `sft/<run_id>/sft_train.jsonl` and `sft_eval.jsonl`, sorted by id, and a dataset card.

    Held out are whole documents, chosen by a hash of their id: the same ones in every run.

    Args:
        ratings: stored feedback; only approved answers become pairs.
        redact: redactor for what people typed into feedback; must raise when it cannot run.
        spread: how units are worked on; None: here, one after the other.

    Returns:
        Receipt with counts `chunks`, `pairs`, `train`, `eval`, `feedback` and
        `rejected.<reason>`.
    """
    wash, quant = context.receipt_of("wash"), context.receipt_of("quant")
    key = f"{wash.uri}/rag_chunks.jsonl"
    path = context.fetch(key)
    insights_path = context.fetch(f"{quant.uri}/insights.jsonl")
    insights = {i.document_id: i.insight for i in read_jsonl(insights_path, Insight)}
    documents = _documents(path)
    units = list(plan_units(path, key, insights))
    chunks = units[-1].line - 1 + _lines_in(path, units[-1]) if units else 0

    feedback, rejected = approved_pairs(ratings, documents, redact)
    work = spread or (lambda given, settings: refine_here(context.lake, given, settings))
    refined = _counted(context, work(units, context.settings), rejected, len(units))
    settings = context.settings.synthesis
    split = Split(documents, settings)
    drafts = _write_drafts(context.out("drafts.jsonl"), feedback, refined, split, rejected)
    chosen = _capped(drafts, settings, rejected)
    files = {
        name: _write_sorted(context.out(name), context.out("drafts.jsonl"), chosen, held_out)
        for name, held_out in (("sft_train.jsonl", False), ("sft_eval.jsonl", True))
    }
    train, test = (counted(read_jsonl(path, SftPair)) for path in files.values())
    card = context.out(CARD)
    model = context.settings.model_a
    writer = f"{model.provider} {model.model_id or ''}".strip()
    card.write_text(dataset_card(context.run_id, train, test, rejected, writer), encoding="utf-8")
    files[CARD] = card
    held_out = sum(draft.held_out for draft in chosen)
    return context.finish(
        f"sft/{context.run_id}",
        files,
        rows=len(chosen),
        schema=[field.name for field in fields(SftPair)],
        inputs={
            "wash": wash.sha256,
            "quant": quant.sha256,
            "feedback": text_digest(*(pair.to_json() for pair in feedback)),
        },
        counts={
            "chunks": chunks,
            "pairs": len(chosen),
            "train": len(chosen) - held_out,
            "eval": held_out,
            "feedback": sum(draft.feedback for draft in chosen),
            **{f"rejected.{reason}": count for reason, count in sorted(rejected.items())},
        },
    )


def refine_here(lake: Lake, units: Sequence[RefineUnit], settings: Settings) -> Iterator[Refined]:
    """A `Spread` without Ray."""
    writer = make_writer(settings)
    return (refine_unit(lake, unit, writer, settings) for unit in units)


class Split:
    """Which documents are held out."""

    def __init__(self, documents: Iterable[str], settings: SynthesisSettings) -> None:
        ranked = sorted((_share(settings.seed, d), d) for d in documents)
        self._held_out = {d for share, d in ranked if share < settings.eval_share}
        if not self._held_out and len(ranked) > 1:
            # a small company would otherwise have nothing to measure training with
            self._held_out = {ranked[0][1]}

    def __call__(self, pair: SftPair) -> bool | None:
        """True: held out; False: to train on; None: its documents are on both sides."""
        sides = {document in self._held_out for document in pair.document_ids}
        return sides.pop() if len(sides) == 1 else None


@dataclass(frozen=True)
class _Draft:
    """A pair in the drafts file: where it is, and what decides about it."""

    id: str
    offset: int
    held_out: bool
    feedback: bool


def _documents(path: Path) -> dict[str, DocumentAccess]:
    return {c.document_id: DocumentAccess(c.tenant, c.acl) for c in read_jsonl(path, Chunk)}


def _lines_in(path: Path, unit: RefineUnit) -> int:
    with path.open("rb") as file:
        file.seek(unit.start)
        return file.read(unit.end - unit.start).count(b"\n")


def _counted(
    context: StageContext, results: Iterable[Refined], rejected: Counter[str], units: int
) -> Iterator[SftPair]:
    pairs = 0
    for done, result in enumerate(results, 1):
        rejected.update(result.rejected)
        yield from result.pairs
        pairs += len(result.pairs)
        context.progress("refine.pairs", {"done": done, "total": units, "pairs": pairs})


def _write_drafts(
    path: Path,
    feedback: Sequence[SftPair],
    synthesised: Iterable[SftPair],
    split: Split,
    rejected: Counter[str],
) -> list[_Draft]:
    """All pairs with a question of their own, as they come; people's answers go first."""
    drafts: list[_Draft] = []
    seen: set[str] = set()
    offset = 0
    with path.open("wb") as file:
        for pair in (pair for pairs in (feedback, synthesised) for pair in pairs):
            key = question_key(pair.tenant, pair.instruction)
            held_out = split(pair)
            if key in seen:
                rejected["duplicate"] += 1
            elif held_out is None:
                rejected["both_sides_of_split"] += 1
            else:
                seen.add(key)
                line = pair.to_json().encode() + b"\n"
                file.write(line)
                drafts.append(_Draft(pair.id, offset, held_out, pair.origin == "feedback"))
                offset += len(line)
    return drafts


def _capped(
    drafts: list[_Draft], settings: SynthesisSettings, rejected: Counter[str]
) -> list[_Draft]:
    """At most `max_samples` by id, held out in proportion; feedback stays, then a hash decides."""

    def rank(draft: _Draft) -> tuple[bool, float]:
        return not draft.feedback, _share(settings.seed, draft.id)

    most = settings.max_samples
    if most and len(drafts) > most:
        held_out = [draft for draft in drafts if draft.held_out]
        wanted = min(max(1, round(most * settings.eval_share)), most - 1, len(held_out))
        train = (draft for draft in drafts if not draft.held_out)
        chosen = heapq.nsmallest(wanted, held_out, key=rank)
        chosen += heapq.nsmallest(most - wanted, train, key=rank)
        rejected["over_max_samples"] += len(drafts) - len(chosen)
        drafts = chosen
    return sorted(drafts, key=lambda draft: draft.id)


def _write_sorted(path: Path, drafts_path: Path, chosen: Sequence[_Draft], held_out: bool) -> Path:
    with drafts_path.open("rb") as drafts, path.open("wb") as file:
        for draft in chosen:
            if draft.held_out == held_out:
                drafts.seek(draft.offset)
                file.write(drafts.readline())
    return path


def _share(seed: int, name: str) -> float:
    """A fixed number in [0, 1) for a name."""
    return int(text_digest(str(seed), name)[:13], 16) / 16**13
