"""Searching, ingesting, and the jobs that work on what was ingested."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from alchemy.errors import AlchemyError
from alchemy.logs import get_logger
from alchemy.serving.ask import filters_of
from alchemy.serving.ingest import store_records
from alchemy.types import Passage
from alchemy.wire import (
    IngestRequest,
    IngestResponse,
    JobResponse,
    PassageBody,
    SearchRequest,
    SearchResponse,
)
from deployments.routes.context import Admin, Ingester, Provided, Signed

router = APIRouter()


@router.post("/api/search")
async def search(body: SearchRequest, principal: Signed, services: Provided) -> SearchResponse:
    """Passages the caller may read, best first."""
    release = services.release().id
    async with services.admission.slot():
        found = await services.engines.search(
            body.query, principal, release, body.top_k, filters_of(body), body.mode
        )
    passages = [_passage(passage, body.explain) for passage in found]
    return SearchResponse(passages=passages, release=release)


@router.post("/api/ingest")
async def ingest(body: IngestRequest, principal: Ingester, services: Provided) -> IngestResponse:
    """Store records in the raw lake and start a full cycle on them."""
    key = await asyncio.to_thread(store_records, services.lake, body.source, body.records)
    get_logger().info("ingest.stored", key=key, records=len(body.records), user=principal.user)
    job_id: str | None = None
    if body.run:
        try:
            job_id = await asyncio.to_thread(services.jobs.submit)
        except AlchemyError as error:
            raise AlchemyError(
                error.code,
                f"the records are stored as {key!r}, but no run was started: {error.message}",
                error.remedy,
            ) from error
    return IngestResponse(key=key, records=len(body.records), job_id=job_id)


@router.get("/api/jobs/{job_id}")
async def job(job_id: str, _: Admin, services: Provided) -> JobResponse:
    """How a job stands."""
    status, message = await asyncio.to_thread(services.jobs.status, job_id)
    return JobResponse(job_id=job_id, status=status, message=message)


def _passage(passage: Passage, explain: bool) -> PassageBody:
    chunk = passage.chunk
    return PassageBody(
        document_id=chunk.document_id,
        chunk_id=chunk.id,
        title=chunk.title,
        uri=chunk.uri,
        source=chunk.source,
        section=" > ".join(chunk.heading_path),
        text=chunk.text,
        score=passage.score,
        similarity=passage.similarity,
        signals=passage.signals if explain else {},
        insight=passage.insight,
    )
