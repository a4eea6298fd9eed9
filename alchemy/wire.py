"""Request and response bodies of the HTTP interface, and the chat event stream.

REST, SSE, WebSocket and the OpenAI-compatible endpoint are faces of the same `ChatEvent` stream.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from alchemy.types import Mode

MAX_QUESTION_CHARS = 8000


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LoginRequest(_Body):
    """POST /api/login."""

    user: str = Field(min_length=1, max_length=128)
    password: str = Field(min_length=1, max_length=1024)


class LoginResponse(_Body):
    """A bearer token and when it ends (seconds from now)."""

    token: str
    expires_in: int
    user: str
    roles: list[str]


class FilterBody(_Body):
    """What is searched; nothing named: everything the caller may read.

    `projects` are Jira projects, wiki spaces, repositories or top folders; `since` and `until` (not
    itself included) are ISO 8601 dates or times of a document's last update.
    """

    sources: list[str] | None = None
    projects: list[str] | None = None
    since: str | None = Field(None, max_length=40)
    until: str | None = Field(None, max_length=40)


class ChatRequest(FilterBody):
    """POST /api/chat, POST /api/chat/stream, and each WebSocket message."""

    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)
    session: str | None = Field(None, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")
    top_k: int | None = Field(None, ge=1, le=50)


class CitationBody(_Body):
    """A quote and its place."""

    document_id: str
    chunk_id: str
    title: str
    uri: str
    quote: str
    section: str = ""
    page: int | None = None


class AnswerBody(_Body):
    """The final answer."""

    id: str
    session: str
    question: str
    text: str
    citations: list[CitationBody]
    confidence: float
    abstained: bool
    release: str
    adapter: str
    adapter_digest: str
    timings: dict[str, float]


class ErrorBody(_Body):
    """Every error answer has this body."""

    code: str
    message: str
    remedy: str = ""
    retryable: bool = False


class StatusEvent(_Body):
    """A step began."""

    type: Literal["status"] = "status"
    step: Literal["retrieving", "consulting", "fusing"]


class TokenEvent(_Body):
    """A piece of the answer's text, in order; the concatenation is the answer's text."""

    type: Literal["token"] = "token"
    text: str


class AnswerEvent(_Body):
    """The end of a successful stream."""

    type: Literal["answer"] = "answer"
    answer: AnswerBody


class ErrorEvent(_Body):
    """The end of a failed stream."""

    type: Literal["error"] = "error"
    error: ErrorBody


ChatEvent = Annotated[
    StatusEvent | TokenEvent | AnswerEvent | ErrorEvent, Field(discriminator="type")
]
chat_event: TypeAdapter[StatusEvent | TokenEvent | AnswerEvent | ErrorEvent] = TypeAdapter(
    ChatEvent
)


class SearchRequest(FilterBody):
    """POST /api/search. With `explain` each passage has its `signals`: what gave it its place."""

    query: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)
    top_k: int = Field(8, ge=1, le=100)
    mode: Mode = "hybrid"
    explain: bool = False


class PassageBody(_Body):
    """One search result."""

    document_id: str
    chunk_id: str
    title: str
    uri: str
    source: str
    section: str
    text: str
    score: float
    similarity: float
    signals: dict[str, float]
    insight: str | None = None


class SearchResponse(_Body):
    """Results, best first, with the release they came from."""

    passages: list[PassageBody]
    release: str


class IngestRequest(_Body):
    """POST /api/ingest: records of one source, written to the raw lake; then a run is started."""

    source: Literal["jira", "git_pr", "confluence", "documents"]
    records: list[dict[str, Any]] = Field(min_length=1, max_length=10_000)
    run: bool = True


class IngestResponse(_Body):
    """What was stored, and the Ray job that works on it (None with `run: false`)."""

    key: str
    records: int
    job_id: str | None


class FeedbackRequest(_Body):
    """POST /api/feedback: a rating and, if one was given, a better answer."""

    answer_id: str = Field(min_length=1, max_length=64)
    rating: Literal["up", "down"]
    correction: str | None = Field(None, max_length=20_000)
    comment: str | None = Field(None, max_length=4_000)


class FeedbackResponse(_Body):
    """The receipt: where the rating stands."""

    id: str
    status: Literal["pending", "approved", "rejected"]


class HealthResponse(_Body):
    """GET /healthz."""

    status: Literal["ok", "degraded"]
    release: str | None
    parts: dict[str, str]


class MeResponse(_Body):
    """GET /api/me."""

    user: str
    tenant: str
    roles: list[str]
    groups: list[str]


class SessionBody(_Body):
    """One entry of GET /api/sessions."""

    id: str
    title: str
    turns: int
    updated_at: str


class TurnBody(_Body):
    """A question with its answer."""

    at: str
    answer: AnswerBody


class SessionDetail(_Body):
    """GET /api/sessions/{id}: the kept turns, oldest first."""

    id: str
    turns: list[TurnBody]


class FeedbackBody(_Body):
    """One entry of GET /api/feedback."""

    id: str
    answer_id: str
    question: str
    answer_text: str
    rating: Literal["up", "down"]
    correction: str | None
    comment: str | None
    user: str
    release: str
    status: Literal["pending", "approved", "rejected"]
    created_at: str
    reviewed_by: str | None
    reviewed_at: str | None


class ForgetRequest(_Body):
    """POST /api/forget: documents of the caller's tenant, by id."""

    documents: list[Annotated[str, Field(min_length=1, max_length=1024)]] = Field(
        min_length=1, max_length=1000
    )
    reason: str = Field("", max_length=2_000)
    undo: bool = False
    unknown: bool = False


class LineageBody(_Body):
    """What was made of the documents, see `alchemy.release.lineage`."""

    copies: list[str]
    originals: list[str]
    pairs: dict[str, list[str]]
    adapters: list[str]
    releases: list[str]
    live: str | None


class ForgetResponse(_Body):
    """What was done, and what is left to do."""

    documents: list[str]
    tenant: str
    forgotten: bool
    turns: int
    answers: int
    ratings: int
    unknown: list[str]
    lineage: LineageBody
    remedy: str


class JobResponse(_Body):
    """GET /api/jobs/{id}: a Ray job and how it stands."""

    job_id: str
    status: str
    message: str


class ReleaseBody(_Body):
    """One entry of GET /api/releases."""

    id: str
    created_at: str
    run_id: str
    index: str
    adapter: str
    parent: str | None
    reason: str
    live: bool
    evaluation: dict[str, Any]
