"""Every fault leaves as its HTTP status and one JSON shape."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving.admission import Busy
from alchemy.serving.ask import error_body, typed
from alchemy.serving.openai_api import error_json

_BY_STATUS = {
    400: ErrorCode.INPUT_INVALID,
    401: ErrorCode.AUTH_FAILED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.INPUT_INVALID,
    413: ErrorCode.TOO_LARGE,
}


def install_error_handlers(api: FastAPI) -> None:
    """Answer every fault of `api` in our shape, or OpenAI's below /v1."""

    async def alchemy(request: Request, error: Exception) -> JSONResponse:
        return respond(request.url.path, error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return respond(request.url.path, first_problem(error))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = _BY_STATUS.get(error.status_code, ErrorCode.INTERNAL)
        fault = AlchemyError(code, f"{request.method} {request.url.path}: {error.detail}")
        return respond(request.url.path, fault, error.status_code)

    api.add_exception_handler(AlchemyError, alchemy)
    api.add_exception_handler(RequestValidationError, invalid)
    api.add_exception_handler(HTTPException, http)


def respond(path: str, error: Exception, status: int | None = None) -> JSONResponse:
    """The response for a fault of a request to `path`."""
    fault = typed(error)
    status = status or fault.code.http_status
    headers: dict[str, str] = {}
    if status == 429:
        headers["Retry-After"] = str(fault.retry_after_s if isinstance(fault, Busy) else 1)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = error_json(fault) if path.startswith("/v1/") else error_body(fault).model_dump()
    return JSONResponse(body, status, headers)


def first_problem(error: RequestValidationError | ValidationError) -> AlchemyError:
    """The first problem of a body as `field: reason`; what was sent is not repeated."""
    problems = error.errors()
    if problems[0]["type"] == "json_invalid":
        return AlchemyError(ErrorCode.INPUT_INVALID, "the body is not valid JSON")
    place = ".".join(str(part) for part in problems[0]["loc"] if part != "body") or "body"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return AlchemyError(ErrorCode.INPUT_INVALID, f"{place}: {problems[0]['msg']}{more}")
