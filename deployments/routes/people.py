"""Signing in."""

from __future__ import annotations

from fastapi import APIRouter

from alchemy.wire import LoginRequest, LoginResponse, MeResponse
from deployments.routes.context import Provided, Signed

router = APIRouter()


@router.post("/api/login")
async def login(body: LoginRequest, services: Provided) -> LoginResponse:
    """A bearer token for a user name and password."""
    token, principal = await services.accounts.login(body.user, body.password)
    return LoginResponse(
        token=token,
        expires_in=services.token_ttl_s,
        user=principal.user,
        roles=list(principal.roles),
    )


@router.get("/api/me")
async def me(principal: Signed) -> MeResponse:
    """Who the token stands for."""
    return MeResponse(
        user=principal.user,
        tenant=principal.tenant,
        roles=list(principal.roles),
        groups=list(principal.groups),
    )
