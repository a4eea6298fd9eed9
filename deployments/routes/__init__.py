"""The HTTP interface: one router per concern, put together by `create_api`."""

from __future__ import annotations

from fastapi import FastAPI

from alchemy import __version__
from deployments.routes import chat, data, erasure, feedback, openai, ops, page, people, socket
from deployments.routes.context import Services
from deployments.routes.errors import install_error_handlers
from deployments.routes.front import Front

__all__ = ["Services", "create_api"]


def create_api(services: Services) -> FastAPI:
    """The whole interface over `services`; runs under Ray Serve and under any ASGI server."""
    # no interactive docs: their scripts come from a CDN, which the security policy forbids
    api = FastAPI(
        title="Data Alchemy",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    api.state.services = services
    install_error_handlers(api)
    for module in (people, chat, socket, data, feedback, erasure, openai, ops, page):
        api.include_router(module.router)
    api.mount("/static", page.static_files())
    api.add_middleware(Front, observe=services.observe)
    return api
