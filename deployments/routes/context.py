"""What every route works with: the services, and who is asking."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import GenerationRequest, KeyValue, Lake
from alchemy.release.forgetting import Owners
from alchemy.serving.admission import Admission
from alchemy.serving.ask import Asker, Engines
from alchemy.serving.auth import Accounts
from alchemy.serving.feedback import FeedbackDesk
from alchemy.serving.sessions import Sessions
from alchemy.types import Draft, Principal, Release

if TYPE_CHECKING:
    import numpy as np


class Jobs(Protocol):
    """Runs the pipeline on the cluster. Methods block and raise `AlchemyError`."""

    def submit(self) -> str:
        """Start a full cycle; the job's id."""
        ...

    def status(self, job_id: str) -> tuple[str, str]:
        """State and message of a job; NOT_FOUND for an unknown one."""
        ...


@dataclass(frozen=True)
class Services:
    """Everything the routes use; made once per replica.

    Attributes:
        admission: shared by all that makes the engines work.
        token_ttl_s: life of a token.
        engines: search, draft and finalize; `embed` and `generate` are the plain models behind.
        owners: document ids → tenant of each that the live index holds, hidden or not.
        forgotten_changed: look at the tombstones now instead of at the next poll.
        live: the release that answers now, or None before the first.
        parts: name → `ok`, or what is wrong, for everything the service depends on.
        metrics: the Prometheus exposition of the whole cluster.
        observe: called once per finished request with method, route, status and seconds.
    """

    token_ttl_s: int
    accounts: Accounts
    sessions: Sessions
    feedback: FeedbackDesk
    admission: Admission
    asker: Asker
    engines: Engines
    embed: Callable[[list[str]], Coroutine[Any, Any, np.ndarray]]
    generate: Callable[[GenerationRequest, Principal, str], AsyncGenerator[str | Draft, None]]
    owners: Owners
    forgotten_changed: Callable[[], Awaitable[object]]
    live: Callable[[], Release | None]
    lake: Lake
    kv: KeyValue
    jobs: Jobs
    parts: Callable[[], Awaitable[dict[str, str]]]
    metrics: Callable[[], Awaitable[bytes]]
    observe: Callable[[str, str, int, float], None]

    def release(self) -> Release:
        """The live release; NOT_READY before the first."""
        release = self.live()
        if release is None:
            raise AlchemyError(
                ErrorCode.NOT_READY,
                "no release is live yet",
                "Run `data-alchemy full-cycle`, then ask again.",
            )
        return release


def services_of(connection: HTTPConnection) -> Services:
    """The services of the app that serves this connection."""
    return connection.app.state.services


Provided = Annotated[Services, Depends(services_of)]


def bearer_token(connection: HTTPConnection) -> str | None:
    """The token of the Authorization header, if there is one."""
    scheme, _, token = connection.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def signed_in(connection: HTTPConnection, services: Provided) -> Principal:
    """Who asks; AUTH_FAILED without a valid token."""
    token = bearer_token(connection)
    if token is None:
        raise AlchemyError(
            ErrorCode.AUTH_FAILED,
            "this needs a sign-in",
            "Send `Authorization: Bearer <token>` with a token of POST /api/login.",
        )
    return await services.accounts.resolve(token)


Signed = Annotated[Principal, Depends(signed_in)]


def _with_role(*roles: str) -> Callable[[Principal], Principal]:
    def check(principal: Signed) -> Principal:
        if set(roles).isdisjoint(principal.roles):
            raise AlchemyError(
                ErrorCode.FORBIDDEN,
                f"this needs the role {' or '.join(roles)}",
                "Ask an administrator for it.",
            )
        return principal

    return check


Admin = Annotated[Principal, Depends(_with_role("admin"))]
Ingester = Annotated[Principal, Depends(_with_role("service", "admin"))]
Reviewer = Annotated[Principal, Depends(_with_role("reviewer", "admin"))]
