"""Chunks of each source and a washed run, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alchemy.config import LakeSettings, Settings, SynthesisSettings
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores.lake_local import LocalLake
from alchemy.types import PUBLIC_GROUP, Chunk, Insight


def make_chunk(
    document_id: str,
    text: str,
    *,
    title: str,
    ordinal: int = 0,
    heading_path: tuple[str, ...] = (),
    tenant: str = "default",
    acl: tuple[str, ...] = (PUBLIC_GROUP,),
) -> Chunk:
    return Chunk(
        id=f"{document_id}#{ordinal}",
        document_id=document_id,
        source=document_id.partition(":")[0],
        title=title,
        uri="",
        tenant=tenant,
        acl=acl,
        text=text,
        ordinal=ordinal,
        start=0,
        end=len(text),
        heading_path=heading_path,
    )


def make_issue(number: int, **options: object) -> Chunk:
    return make_chunk(
        f"jira:XD-{number:03}",
        f"The container number {number} loses its module when the network fails.",
        title=f"Container {number} loses modules",
        **options,  # type: ignore[arg-type]
    )


def washed(
    root: Path,
    chunks: Sequence[Chunk],
    insights: Sequence[Insight] = (),
    synthesis: SynthesisSettings | None = None,
) -> StageContext:
    """The context of stage "refine" of a run whose wash and quant stages are done."""
    settings = Settings(
        lake=LakeSettings(root=str(root / "lake")), synthesis=synthesis or SynthesisSettings()
    )
    lake = LocalLake(settings.lake.root)
    outputs = {
        "wash": ("processed", "rag_chunks.jsonl", chunks),
        "quant": ("quant", "insights.jsonl", insights),
    }
    for stage, (prefix, name, records) in outputs.items():
        context = StageContext("run-1", stage, settings, lake, root / "scratch" / stage)
        write_jsonl(context.out(name), records)
        files = {name: context.out(name)}
        receipt = context.finish(f"{prefix}/run-1", files, rows=len(records), schema=(), inputs={})
        write_receipt(lake, receipt)
    return StageContext("run-1", "refine", settings, lake, root / "scratch" / "refine")
