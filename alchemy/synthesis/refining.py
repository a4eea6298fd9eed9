"""Chunks → verified pairs, in units that any process can work on.

A unit is a byte range of whole lines in the run's chunk file, so that workers read their part from
the lake themselves and only finished pairs travel.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.registry import load_chat_model
from alchemy.protocols import Lake
from alchemy.synthesis.pairs import Candidate, PairWriter, StructureWriter, evidence_of
from alchemy.synthesis.prompts import ChatWriter
from alchemy.synthesis.verification import question_key, verify
from alchemy.types import Chunk, JsonRecord, SftPair, text_digest

UNIT_CHUNKS = 256


@dataclass(frozen=True)
class RefineUnit(JsonRecord):
    """Work for one call.

    Attributes:
        key: lake key of the chunk file; `start`, `end` the byte range; `line` the first line's
            number.
        insights: document id → insight, for documents in the range that have one.
    """

    key: str
    start: int
    end: int
    line: int
    insights: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refined(JsonRecord):
    """Result of a unit: pairs in chunk order, and reason → how many candidates were rejected."""

    pairs: tuple[SftPair, ...]
    rejected: dict[str, int]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output."""
        pairs = tuple(SftPair.from_dict(pair) for pair in data["pairs"])
        return cls(pairs, dict(data["rejected"]))


def make_writer(settings: Settings) -> PairWriter:
    """The configured `model_a` as a writer of pairs."""
    model = load_chat_model(settings.model_a, "model_a")
    if model is None:
        return StructureWriter()
    return ChatWriter(model, settings.synthesis.pairs_per_chunk)


def plan_units(
    path: Path, key: str, insights: Mapping[str, str], unit_chunks: int = UNIT_CHUNKS
) -> Iterator[RefineUnit]:
    """Units that cover the chunk file at `key`, of which `path` is a local copy.

    Args:
        insights: document id → insight.
    """
    start = end = 0
    first = number = 1
    known: dict[str, str] = {}
    with path.open("rb") as file:
        for line in file:
            document_id = _read_chunk(line, key, number).document_id
            if document_id in insights:
                known[document_id] = insights[document_id]
            end += len(line)
            number += 1
            if number - first == unit_chunks:
                yield RefineUnit(key, start, end, first, known)
                start, first, known = end, number, {}
    if end > start:
        yield RefineUnit(key, start, end, first, known)


def refine_unit(lake: Lake, unit: RefineUnit, writer: PairWriter, settings: Settings) -> Refined:
    """Write and verify the pairs of one unit. Same unit, same result, in any process."""
    pairs: list[SftPair] = []
    rejected: Counter[str] = Counter()
    for chunk in _read_unit(lake, unit):
        insight = unit.insights.get(chunk.document_id)
        candidates = writer.write(chunk, insight)
        limit = settings.synthesis.pairs_per_chunk
        pairs += _verified(chunk, insight, candidates, limit, rejected)
    return Refined(tuple(pairs), dict(sorted(rejected.items())))


def _verified(
    chunk: Chunk,
    insight: str | None,
    candidates: list[Candidate],
    limit: int,
    rejected: Counter[str],
) -> Iterator[SftPair]:
    said = evidence_of(chunk)
    seen: set[str] = set()
    for candidate in candidates:
        if len(seen) == limit:
            return
        evidence = {
            "chunk": said,
            "insight": insight or "",
            "either": f"{said}\n{insight or ''}",
        }[candidate.evidence]
        verdict = verify(candidate.question, candidate.answer, evidence)
        key = question_key(chunk.tenant, candidate.question)
        if not verdict.kept:
            rejected["unreadable" if candidate.kind == "unreadable" else verdict.reason] += 1
        elif key in seen:
            rejected["duplicate"] += 1
        else:
            seen.add(key)
            yield SftPair(
                id=pair_id(candidate.question, candidate.answer, chunk.id),
                instruction=candidate.question,
                response=candidate.answer,
                chunk_ids=(chunk.id,),
                document_ids=(chunk.document_id,),
                tenant=chunk.tenant,
                acl=chunk.acl,
                kind=candidate.kind,
                origin="synthesis",
                verified=True,
                score=verdict.score,
            )


def pair_id(question: str, answer: str, *chunk_ids: str) -> str:
    """`sft-<16 hex>` of what the pair says and where it comes from."""
    return f"sft-{text_digest(question, answer, *chunk_ids)[:16]}"


def _read_unit(lake: Lake, unit: RefineUnit) -> Iterator[Chunk]:
    raw = bytearray()
    for piece in lake.stream(unit.key, start=unit.start):
        raw += piece
        if len(raw) >= unit.end - unit.start:
            break
    lines = bytes(raw[: unit.end - unit.start]).split(b"\n")
    for number, line in enumerate((line for line in lines if line), unit.line):
        yield _read_chunk(line, unit.key, number)


def _read_chunk(line: bytes, key: str, number: int) -> Chunk:
    try:
        return Chunk.from_dict(json.loads(line))
    except (ValueError, TypeError) as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"{key}:{number}: not a Chunk record",
            "Run stage 'wash' again.",
        ) from error
