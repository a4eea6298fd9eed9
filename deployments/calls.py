"""Calls of other deployments: their replies, and what a failed one means to a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.serving.admission import Busy

_PREPARE_S = 120.0
"""An index of a million chunks is fetched, verified and warmed up in that time."""


def typed_call_error(error: Exception, part: str) -> AlchemyError:
    """What a failed call of another deployment means to a client."""
    cause: BaseException = error
    while isinstance(cause, RayTaskError):  # its text is the worker's traceback
        cause = cause.cause
    found = AlchemyError.unwrap(cause)
    if found is not None:
        return found
    if isinstance(cause, BackPressureError):
        return Busy(f"the {part} has too many requests waiting", "Try again in a moment.")
    if cause is not error:
        return AlchemyError(ErrorCode.INTERNAL, f"the {part} failed: {cause!r}")
    return AlchemyError(
        ErrorCode.NOT_READY,
        f"the {part} does not answer: {type(error).__name__}",
        "It is being restarted; try again in a moment.",
    )


def await_prepared(call: Any, part: str) -> None:
    """Block until another deployment has loaded a release; a typed error says why it has not."""
    try:
        call.result(timeout_s=_PREPARE_S)
    except TimeoutError as error:
        call.cancel()
        raise AlchemyError(
            ErrorCode.NOT_READY, f"the {part} did not load the release within {_PREPARE_S:g} s"
        ) from error
    except (RayError, RayServeException, AlchemyError) as error:
        raise typed_call_error(error, part) from error


async def reply_of(call: Any, part: str) -> Any:
    """What another deployment replies; a caller that goes away takes its request along."""
    try:
        return await call
    except asyncio.CancelledError:
        call.cancel()
        raise
    except (RayError, RayServeException, AlchemyError) as error:
        raise typed_call_error(error, part) from error


async def pieces_of(stream: Any, part: str) -> AsyncGenerator[Any, None]:
    """What another deployment streams; it stops when nobody listens any more."""
    try:
        async for piece in stream:
            yield piece
    except (RayError, RayServeException, AlchemyError) as error:
        raise typed_call_error(error, part) from error
    finally:
        stream.cancel()  # nothing to do for a finished stream
