"""The outermost layer of every request: its id, its size limit, its metric, its headers."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.routes.errors import respond

MAX_BODY_BYTES = 64 * 1024 * 1024

_ID = "x-request-id"
_ID_SHAPE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Front:
    """Plain ASGI, so that streams pass through unbuffered.

    Args:
        observe: called once per finished request with method, route, status and seconds.
    """

    def __init__(self, app: ASGIApp, observe: Callable[[str, str, int, float], None]) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one socket, or the app's lifespan."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(_ID, "")
        request_id = given if _ID_SHAPE.fullmatch(given) else secrets.token_hex(8)
        started, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(_SECURITY)
                if not given:  # Serve's proxy, which gave the id, returns it itself
                    headers[_ID] = request_id
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, _bounded(scope, receive), sending)
            except Exception as error:
                if scope["type"] == "websocket" or status:
                    raise  # the response has begun: only breaking it off is left
                await respond(scope["path"], error)(scope, receive, sending)
            finally:
                route = getattr(scope.get("route"), "path", "other")
                method = scope.get("method", "WEBSOCKET")
                self._observe(method, route, status or 500, time.monotonic() - started)


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """Refuse a body over the limit, announced or not, before it is in memory."""
    announced = Headers(scope=scope).get("content-length", "")
    received = 0

    async def receiving() -> Message:
        nonlocal received
        if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        message = await receive()
        received += len(message.get("body", b"")) if message["type"] == "http.request" else 0
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        return message

    return receiving
