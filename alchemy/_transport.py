"""What both clients share and that needs no socket: calls, sign-in, retries, error translation.

A call is driven as a generator of steps (`Send`, `Wait`), so that the rules are written once and
the blocking and the async client only carry them out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from alchemy import wire
from alchemy.errors import AlchemyError, ErrorCode

T = TypeVar("T")
MAX_RETRIES = 3
"""How often a request the server refused with 429 is sent again."""
MAX_WAIT_S = 30.0
"""A longer `Retry-After` is not waited for: the error goes to the caller."""
INGEST_BATCH = 10_000
"""Records per POST /api/ingest, the limit of `wire.IngestRequest`."""

Event = wire.StatusEvent | wire.TokenEvent | wire.AnswerEvent
IngestSource = Literal["jira", "git_pr", "confluence", "documents"]

_SESSIONS = TypeAdapter(list[wire.SessionBody])
_BY_STATUS = {
    400: ErrorCode.INPUT_INVALID,
    401: ErrorCode.AUTH_FAILED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    409: ErrorCode.CONFLICT,
    413: ErrorCode.TOO_LARGE,
    422: ErrorCode.INPUT_INVALID,
    429: ErrorCode.OVERLOADED,
    502: ErrorCode.NOT_READY,
    503: ErrorCode.NOT_READY,
    504: ErrorCode.DEADLINE,
}


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and how its successful JSON body is read."""

    method: str
    path: str
    parse: Callable[[Any], T]
    body: BaseModel | None = None


@dataclass(frozen=True)
class Send:
    """Step: send this request and give the response back."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Wait:
    """Step: sleep this long."""

    seconds: float


Steps = Generator[Send | Wait, httpx.Response | None, T]


class Session:
    """Address, credentials and rules of one client. Does no input or output itself.

    Args:
        url: address of the gateway, `http://host:port`.
        token: bearer token; None signs in with `user` and `password` on first need.
    """

    def __init__(self, url: str, token: str | None, user: str | None, password: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"{url!r} is not an http(s) address",
                "Give the gateway's address, for example http://127.0.0.1:8000.",
            )
        if (user is None) != (password is None):
            raise AlchemyError(ErrorCode.INPUT_INVALID, "user and password must be given together")
        self.url = url.rstrip("/")
        scheme = "wss" if parts.scheme == "https" else "ws"
        self.websocket_url = urlunsplit(
            (scheme, parts.netloc, parts.path.rstrip("/") + "/api/ws", "", "")
        )
        self.token = token
        self._user = user
        self._password = password

    @property
    def headers(self) -> dict[str, str]:
        """The Authorization header, empty before sign-in."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def sign_in(self, *, again: bool = False) -> Steps[None]:
        """Make sure there is a token, if there are credentials to get one with."""
        if self._user is None or self._password is None or (self.token and not again):
            return
        body = wire.LoginRequest(user=self._user, password=self._password)
        login = Call("POST", "/api/login", wire.LoginResponse.model_validate, body)
        self.token = (yield from self._attempts(login, {})).token

    def exchange(self, call: Call[T]) -> Steps[T]:
        """The steps of one call: sign in, send, wait and send again on 429, read the body.

        An expired token is renewed once when the password is known.
        """
        yield from self.sign_in()
        try:
            return (yield from self._attempts(call, self.headers))
        except AlchemyError as error:
            if not self.may_renew(error):
                raise
        yield from self.sign_in(again=True)
        return (yield from self._attempts(call, self.headers))

    def may_renew(self, error: AlchemyError) -> bool:
        """Whether signing in again can mend this error."""
        return error.code is ErrorCode.TOKEN_EXPIRED and self._password is not None

    def _attempts(self, call: Call[T], headers: dict[str, str]) -> Steps[T]:
        body = None if call.body is None else call.body.model_dump(mode="json")
        for attempt in range(MAX_RETRIES + 1):
            response = yield Send(call.method, call.path, body, headers)
            assert response is not None
            if response.is_success:
                return self._parsed(call, response)
            error = error_of(response.status_code, response.content)
            wait_s = retry_wait_s(error, response.headers, attempt)
            if wait_s is None:
                raise error
            yield Wait(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _parsed(self, call: Call[T], response: httpx.Response) -> T:
        try:
            return call.parse(response.json())
        except ValueError as error:  # json.JSONDecodeError and pydantic's ValidationError
            raise AlchemyError(
                ErrorCode.INTERNAL,
                f"{self.url}{call.path} answered something this client does not understand",
                "Check that the address is a Data Alchemy gateway of this client's version.",
            ) from error

    def unreachable(self, error: Exception) -> AlchemyError:
        """NOT_READY for a server that does not accept or drops the connection."""
        return AlchemyError(
            ErrorCode.NOT_READY,
            f"no Data Alchemy answers at {self.url} ({error or type(error).__name__})",
            "Start it with `alchemy up`, or give the right address.",
        )

    def too_slow(self, timeout_s: float) -> AlchemyError:
        """DEADLINE for a server that was silent for the client's timeout."""
        return AlchemyError(
            ErrorCode.DEADLINE,
            f"{self.url} did not answer within {timeout_s:g} s",
            "Try again, or give a larger timeout_s.",
        )

    def cut_short(self) -> AlchemyError:
        """NOT_READY for a stream that ended before its answer."""
        return AlchemyError(
            ErrorCode.NOT_READY,
            f"the connection to {self.url} ended before the answer was complete",
            "Ask again.",
        )


def error_of(status: int, body: bytes | None) -> AlchemyError:
    """The typed error of a response: the server's own code, else the one of the HTTP status."""
    try:
        raw = json.loads(body or b"")
        fault = wire.ErrorBody.model_validate(raw)
    except (ValueError, ValidationError):
        text = (body or b"").decode("utf-8", "replace").strip().splitlines()
        detail = f": {text[0][:200]}" if text and not text[0].startswith("<") else ""
        code = _BY_STATUS.get(status, ErrorCode.INTERNAL)
        return AlchemyError(code, f"the server answered {status}{detail}")
    return error_from_body(fault)


def error_from_body(body: wire.ErrorBody) -> AlchemyError:
    """The server's error as the exception it was there."""
    return AlchemyError(ErrorCode.from_code(body.code), body.message, body.remedy)


def retry_wait_s(error: AlchemyError, headers: Mapping[str, str], attempt: int) -> float | None:
    """Seconds to wait before the next attempt, or None to give up.

    Only OVERLOADED is tried again: the server refused before it did anything.
    """
    if error.code is not ErrorCode.OVERLOADED or attempt >= MAX_RETRIES:
        return None
    try:
        asked = float(headers.get("Retry-After", ""))
    except ValueError:  # absent, or an HTTP date
        asked = 0.25 * 2**attempt
    return max(asked, 0.0) if asked <= MAX_WAIT_S else None


def chat_body(
    question: str, session: str | None, sources: Sequence[str] | None
) -> wire.ChatRequest:
    """The chat request, checked here so that a mistake costs no round trip."""
    return checked(
        wire.ChatRequest,
        question=question,
        session=session,
        sources=None if sources is None else list(sources),
    )


def checked(kind: type[T], **fields: Any) -> T:
    """A request body, or INPUT_INVALID that names the field."""
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise AlchemyError(ErrorCode.INPUT_INVALID, f"{place}: {first['msg']}") from error


def chat_call(
    question: str, session: str | None, sources: Sequence[str] | None
) -> Call[wire.AnswerBody]:
    """POST /api/chat."""
    return Call(
        "POST",
        "/api/chat",
        wire.AnswerBody.model_validate,
        chat_body(question, session, sources),
    )


def search_call(query: str, top_k: int, **options: Any) -> Call[wire.SearchResponse]:
    """POST /api/search; `options` are further fields of its body."""
    given = {name: value for name, value in options.items() if value is not None}
    body = checked(wire.SearchRequest, query=query, top_k=top_k, **given)
    return Call("POST", "/api/search", wire.SearchResponse.model_validate, body)


def feedback_call(
    answer_id: str, rating: str, correction: str | None, comment: str | None
) -> Call[wire.FeedbackResponse]:
    """POST /api/feedback."""
    body = checked(
        wire.FeedbackRequest,
        answer_id=answer_id,
        rating=rating,
        correction=correction,
        comment=comment,
    )
    return Call("POST", "/api/feedback", wire.FeedbackResponse.model_validate, body)


def forget_call(
    documents: Sequence[str], reason: str, undo: bool, unknown: bool
) -> Call[wire.ForgetResponse]:
    """POST /api/forget."""
    body = checked(
        wire.ForgetRequest,
        documents=list(documents),
        reason=reason,
        undo=undo,
        unknown=unknown,
    )
    return Call("POST", "/api/forget", wire.ForgetResponse.model_validate, body)


def sessions_call() -> Call[list[wire.SessionBody]]:
    """GET /api/sessions."""
    return Call("GET", "/api/sessions", _SESSIONS.validate_python)


def me_call() -> Call[wire.MeResponse]:
    """GET /api/me."""
    return Call("GET", "/api/me", wire.MeResponse.model_validate)


class StreamFault(Exception):
    """Why a stream broke, with the headers of a refused handshake. Never leaves the client."""

    def __init__(self, error: AlchemyError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.headers = headers or {}


class StreamRules:
    """When a stream that did not begin is opened again: a few times on 429, once on expiry."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._attempt = 0
        self._renewed = False

    def after(self, fault: StreamFault, begun: bool) -> tuple[bool, float]:
        """(sign in again first, seconds to wait); raises the fault's error to give up."""
        if not begun and not self._renewed and self._session.may_renew(fault.error):
            self._renewed = True
            return True, 0.0
        wait_s = None if begun else retry_wait_s(fault.error, fault.headers, self._attempt)
        if wait_s is None:
            raise fault.error from fault.__cause__
        self._attempt += 1
        return False, wait_s


def parse_event(message: str | bytes) -> Event:
    """One event of a stream; an error event is raised."""
    try:
        event = wire.chat_event.validate_json(message)
    except ValidationError as error:
        raise AlchemyError(
            ErrorCode.INTERNAL,
            "the server sent an event this client does not understand",
            "Use the client of the server's version.",
        ) from error
    if isinstance(event, wire.ErrorEvent):
        raise StreamFault(error_from_body(event.error))
    return event


def stream_fault(session: Session, error: WebSocketException | OSError) -> StreamFault:
    """What a broken WebSocket means."""
    if isinstance(error, InvalidStatus):
        response = error.response
        refusal = error_of(response.status_code, bytes(response.body or b""))
        return StreamFault(refusal, {"Retry-After": response.headers.get("Retry-After", "")})
    if isinstance(error, ConnectionClosed):
        return StreamFault(session.cut_short())
    return StreamFault(session.unreachable(error))


def ingest_calls(
    source: str, records: Iterable[Mapping[str, Any]] | str | Path, run: bool
) -> Iterator[Call[wire.IngestResponse]]:
    """POST /api/ingest, as often as the record limit asks; only the last starts the run."""
    loaded = iter(read_records(records) if isinstance(records, str | Path) else records)
    batch = list(islice(loaded, INGEST_BATCH))
    if not batch:
        raise AlchemyError(ErrorCode.INPUT_INVALID, "there are no records to ingest")
    while batch:
        following = list(islice(loaded, INGEST_BATCH))
        body = checked(wire.IngestRequest, source=source, records=batch, run=run and not following)
        yield Call("POST", "/api/ingest", wire.IngestResponse.model_validate, body)
        batch = following


def merged_ingest(responses: Sequence[wire.IngestResponse]) -> wire.IngestResponse:
    """One response for several batches: all records, the last key and its job."""
    last = responses[-1]
    return wire.IngestResponse(
        key=last.key, records=sum(r.records for r in responses), job_id=last.job_id
    )


def read_records(path: str | Path) -> Iterator[dict[str, Any]]:
    """Records of a `.jsonl` file (one object a line) or a `.json` file (a list of objects, or one).

    Raises:
        AlchemyError: INPUT_UNREADABLE or INPUT_INVALID naming file and line.
    """
    file = Path(path)
    if file.suffix not in (".json", ".jsonl"):
        raise AlchemyError(
            ErrorCode.INPUT_INVALID, f"{file} is neither .json nor .jsonl", "Give one of those."
        )
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AlchemyError(ErrorCode.INPUT_UNREADABLE, f"cannot read {file}: {error}") from error
    if file.suffix == ".json":
        content = _json(text, str(file), first_line=1)
        entries = [
            (str(file), entry) for entry in (content if isinstance(content, list) else [content])
        ]
    else:
        # not splitlines(): JSON strings may hold U+2028 and its kin
        lines = enumerate(text.split("\n"), 1)
        entries = [
            (f"{file}:{n}", _json(line, str(file), first_line=n))
            for n, line in lines
            if line.strip()
        ]
    for place, entry in entries:
        if not isinstance(entry, dict):
            raise AlchemyError(ErrorCode.INPUT_INVALID, f"{place}: a record must be a JSON object")
        yield entry


def _json(text: str, file: str, first_line: int) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        line = first_line + getattr(error, "lineno", 1) - 1
        raise AlchemyError(
            ErrorCode.INPUT_INVALID, f"{file}:{line}: malformed JSON: {error}", "Mend that line."
        ) from error
