"""Rating answers, and deciding on ratings."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving.feedback import FeedbackRecord
from alchemy.wire import FeedbackBody, FeedbackRequest, FeedbackResponse
from deployments.routes.context import Provided, Reviewer, Signed

router = APIRouter()

_SHOWN = tuple(FeedbackBody.model_fields)


@router.post("/api/feedback")
async def rate(body: FeedbackRequest, principal: Signed, services: Provided) -> FeedbackResponse:
    """Rate an answer the caller was given."""
    record = await services.feedback.submit(
        principal, body.answer_id, body.rating, body.correction, body.comment
    )
    return FeedbackResponse(id=record.id, status=record.status)


@router.get("/api/feedback")
async def ratings(
    principal: Signed,
    services: Provided,
    scope: Literal["own", "all"] = "own",
    status: Literal["pending", "approved", "rejected"] | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[FeedbackBody]:
    """The caller's ratings; with `scope=all`, for a reviewer, everyone's."""
    if scope == "all":
        if not {"reviewer", "admin"} & set(principal.roles):
            raise AlchemyError(
                ErrorCode.FORBIDDEN, "only reviewers see everyone's feedback", "Use scope=own."
            )
        found = await services.feedback.all(principal, status, limit)
    else:
        own = await services.feedback.own(principal)
        found = [record for record in own if status in (None, record.status)][:limit]
    return [_body(record) for record in found]


@router.post("/api/feedback/{feedback_id}/approve")
async def approve(feedback_id: str, reviewer: Reviewer, services: Provided) -> FeedbackResponse:
    """Let a rating train the next adapter."""
    record = await services.feedback.decide(reviewer, feedback_id, "approved")
    return FeedbackResponse(id=record.id, status=record.status)


@router.post("/api/feedback/{feedback_id}/reject")
async def reject(feedback_id: str, reviewer: Reviewer, services: Provided) -> FeedbackResponse:
    """Keep a rating out of training."""
    record = await services.feedback.decide(reviewer, feedback_id, "rejected")
    return FeedbackResponse(id=record.id, status=record.status)


def _body(record: FeedbackRecord) -> FeedbackBody:
    fields = record.to_dict()
    return FeedbackBody(**{name: fields[name] for name in _SHOWN})
