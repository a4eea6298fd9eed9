"""For operators: health, metrics, releases."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from alchemy.release.model import all_releases
from alchemy.serving.exposition import CONTENT_TYPE
from alchemy.wire import HealthResponse, ReleaseBody
from deployments.routes.context import Admin, Provided

router = APIRouter()

_SHOWN = tuple(name for name in ReleaseBody.model_fields if name != "live")


@router.get("/healthz")
async def health(services: Provided) -> HealthResponse:
    """Always 200 while the gateway answers; `degraded` names the parts that do not work."""
    release = services.live()
    parts = await services.parts()
    well = release is not None and all(state == "ok" for state in parts.values())
    return HealthResponse(
        status="ok" if well else "degraded", release=release.id if release else None, parts=parts
    )


@router.get("/metrics")
async def metrics(services: Provided) -> Response:
    """Prometheus exposition of the whole cluster."""
    return Response(await services.metrics(), media_type=CONTENT_TYPE)


@router.get("/api/releases")
async def releases(_: Admin, services: Provided) -> list[ReleaseBody]:
    """All releases, oldest first, the live one marked."""
    live = services.live()
    found = await asyncio.to_thread(all_releases, services.lake)
    bodies: list[ReleaseBody] = []
    for release in found:
        fields = release.to_dict()
        shown = {name: fields[name] for name in _SHOWN}
        bodies.append(ReleaseBody(**shown, live=live is not None and live.id == release.id))
    return bodies
