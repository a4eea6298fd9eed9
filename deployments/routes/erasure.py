"""Forgetting documents, for administrators."""

from __future__ import annotations

from fastapi import APIRouter

from alchemy.release.forgetting import Order, forget
from alchemy.wire import ForgetRequest, ForgetResponse, LineageBody
from deployments.routes.context import Admin, Provided

router = APIRouter()


@router.post("/api/forget")
async def forget_documents(
    body: ForgetRequest, principal: Admin, services: Provided
) -> ForgetResponse:
    """Hide documents of the caller's tenant, remove what quoted them, list what has seen them.

    With `undo` they are shown again, and the next wash takes them up.
    """
    documents = tuple(dict.fromkeys(body.documents))
    order = Order(documents, principal.tenant, principal.user, body.reason, body.undo, body.unknown)
    done = await forget(services.lake, services.sessions, services.feedback, services.owners, order)
    await services.forgotten_changed()
    fields = done.to_dict()
    return ForgetResponse(**{**fields, "lineage": LineageBody(**fields["lineage"])})
