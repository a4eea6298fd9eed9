"""The data that flows between stages: frozen dataclasses, no behaviour beyond (de)serialising.

JSON keys equal field names. Times are ISO 8601 strings in UTC (`2015-10-07T20:46:44Z`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast

PUBLIC_GROUP = "everyone"
"""The group every principal of a tenant belongs to."""
_ISSUE = re.compile(r"([A-Z][A-Z0-9_]*)-\d+")


_LINE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=vars)
"""Reads records where they lie: `asdict` first copies every value, which costs more than encoding."""


@dataclass(frozen=True)
class JsonRecord:
    """Base of the records that are stored as one JSON object per line."""

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON types."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """One line of JSON, keys in field order, non-ASCII kept."""
        return _LINE.encode(vars(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output; lists become tuples; unknown keys raise TypeError."""
        return cls(
            **{
                k: tuple(cast("list[Any]", v)) if isinstance(v, list) else v
                for k, v in data.items()
            }
        )


@dataclass(frozen=True)
class Document(JsonRecord):
    """One cleaned or raw record of a source system.

    Attributes:
        id: stable across runs: `<source>:<key>`, e.g. `jira:XD-123`.
        source: `jira | git_pr | confluence | documents | database | archive | feedback`.
        text: plain text with light Markdown structure (headings, lists, fenced code, tables).
        acl: groups that may read it; never empty.
        metrics: numbers about the record; a missing number is None, never 0.
        extra: other JSON values (status, labels, links, heading map, page map).
        content_hash: `text_digest(title, text)`.
    """

    id: str
    source: str
    title: str
    text: str
    uri: str
    tenant: str
    acl: tuple[str, ...]
    created_at: str | None = None
    updated_at: str | None = None
    metrics: dict[str, float | None] = field(default_factory=dict[str, float | None])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    content_hash: str = ""


@dataclass(frozen=True)
class Chunk(JsonRecord):
    """A retrievable span of a document.

    Attributes:
        id: `<document_id>#<ordinal>`.
        text: `document.text[start:end]` exactly.
        heading_path: titles of the enclosing sections, outermost first.
        start, end: character offsets in the cleaned document's text.
        page: 1-based page of a paged document.
        content_hash: sha256 hex of what is embedded (`embedding_text`).
    """

    id: str
    document_id: str
    source: str
    title: str
    uri: str
    tenant: str
    acl: tuple[str, ...]
    text: str
    ordinal: int
    start: int
    end: int
    heading_path: tuple[str, ...] = ()
    page: int | None = None
    updated_at: str | None = None
    content_hash: str = ""

    def embedding_text(self) -> str:
        """What the embedder sees: title, section path, text."""
        head = " > ".join((self.title, *(h for h in self.heading_path if h != self.title)))
        return f"{head}\n{self.text}"


@dataclass(frozen=True)
class Quarantined(JsonRecord):
    """A record that could not be used: where it is and why. Never contains its content."""

    source: str
    uri: str
    position: str
    reason: str


@dataclass(frozen=True)
class Removed(JsonRecord):
    """A document removed by deduplication or a quality filter, with the one that survives it."""

    id: str
    reason: str
    survivor: str | None = None
    similarity: float | None = None


@dataclass(frozen=True)
class Insight(JsonRecord):
    """What is notable about a document's numbers among the documents of its source.

    Attributes:
        insight: one or two plain sentences; never empty (a plain document has no record).
        outliers: metric column → percentile within the source, 0 to 100.
        rank_signal: mean percentile of the document's metrics, in [0, 1]; None without metrics.
    """

    document_id: str
    insight: str
    outliers: dict[str, float] = field(default_factory=dict[str, float])
    rank_signal: float | None = None


@dataclass(frozen=True)
class SftPair(JsonRecord):
    """One supervised example; `origin` is `synthesis` or `feedback`."""

    id: str
    instruction: str
    response: str
    chunk_ids: tuple[str, ...]
    document_ids: tuple[str, ...]
    tenant: str
    acl: tuple[str, ...]
    kind: str
    origin: str = "synthesis"
    verified: bool = False
    score: float = 0.0


@dataclass(frozen=True)
class Passage(JsonRecord):
    """A chunk found for a query.

    Attributes:
        score: final ranking score, higher is better; comparable within one search only.
        similarity: cosine of query and chunk in [-1, 1] (nan never; 0.0 when dense did not run).
        signals: per-signal rank or value, for the explanation.
        insight: sentence from Quant about the chunk's document, or None.
    """

    chunk: Chunk
    score: float
    similarity: float
    signals: dict[str, float] = field(default_factory=dict[str, float])
    insight: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output."""
        fields: dict[str, Any] = {**data, "chunk": Chunk.from_dict(data["chunk"])}
        return cls(**fields)


@dataclass(frozen=True)
class Draft(JsonRecord):
    """What the base model with its adapter says without having seen the evidence.

    Attributes:
        text: generated text.
        adapter: adapter version, `base` when none is loaded.
        digest: sha256 of the adapter's weights file; of the base model when `base`.
        tokens: generated tokens.
    """

    text: str
    adapter: str
    digest: str
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Citation(JsonRecord):
    """A quote with its place. `quote` is an exact substring of the chunk's text."""

    document_id: str
    chunk_id: str
    title: str
    uri: str
    quote: str
    section: str = ""
    page: int | None = None


@dataclass(frozen=True)
class Answer(JsonRecord):
    """What the person gets.

    Attributes:
        text: answer with `[n]` markers; n is the 1-based position in `citations`.
        confidence: calibrated in [0, 1].
        abstained: True when the release's threshold was not reached; `text` then says so.
        release: id of the release that answered.
        adapter: adapter version that drafted; `adapter_digest` its weights' sha256.
        timings: seconds by step.
    """

    id: str
    question: str
    text: str
    citations: tuple[Citation, ...]
    confidence: float
    abstained: bool
    release: str
    adapter: str
    adapter_digest: str
    timings: dict[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output."""
        citations = tuple(Citation.from_dict(c) for c in data["citations"])
        fields: dict[str, Any] = {**data, "citations": citations}
        return cls(**fields)


@dataclass(frozen=True)
class Receipt(JsonRecord):
    """Proof that a stage wrote its output.

    Attributes:
        uri: lake key prefix of the output.
        rows, bytes: size of the output.
        sha256: digest over `files`, see `digest_of`.
        schema: output column or field names.
        inputs: name → sha256 of what the stage read (other receipts, raw listing, settings).
        seconds: wall time of the stage.
        files: lake key → sha256 of each output file.
        counts: what happened to the records (`read`, `kept`, `duplicate`, `quarantined`, …).
    """

    run_id: str
    stage: str
    uri: str
    rows: int
    bytes: int
    sha256: str
    schema: tuple[str, ...]
    inputs: dict[str, str]
    seconds: float
    files: dict[str, str] = field(default_factory=dict[str, str])
    counts: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Release(JsonRecord):
    """Everything an answer depends on, as one immutable version.

    Attributes:
        index, adapter: versions under `index/` and `adapters/`.
        thresholds: `abstain`, `draft_weight` and other calibrated numbers.
        models: role → digest.
        evaluation: metrics of this release by suite.
        parent: release it replaces.
        retrieval: version under `adapters/` that encodes queries; empty: the base embedder does.
        retrieval_digest: sha256 of its weights.
    """

    id: str
    created_at: str
    run_id: str
    index: str
    index_sha256: str
    adapter: str
    adapter_digest: str
    thresholds: dict[str, float]
    models: dict[str, str]
    prompts: dict[str, str]
    evaluation: dict[str, Any]
    parent: str | None = None
    reason: str = ""
    retrieval: str = ""
    retrieval_digest: str = ""


@dataclass(frozen=True)
class Principal(JsonRecord):
    """Who asks: resolved by the gateway from a token, passed down to every search.

    `groups` always contains `PUBLIC_GROUP`.
    """

    user: str
    tenant: str
    groups: tuple[str, ...]
    roles: tuple[str, ...] = ()

    def may_read(self, tenant: str, acl: tuple[str, ...]) -> bool:
        """Whether this principal may read something of `tenant` with these groups."""
        return tenant == self.tenant and not set(acl).isdisjoint(self.groups)


@dataclass(frozen=True)
class Filters(JsonRecord):
    """What a search is limited to; an empty field does not limit.

    Attributes:
        sources: names of sources (`jira`, …).
        projects: Jira projects, wiki spaces, repositories, top folders; in any case.
        since, until: ISO 8601 dates or times; of the last update, `until` excluded.
    """

    sources: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None


NO_LIMITS = Filters()

Mode = Literal["hybrid", "dense", "lexical"]
"""By which signals a search finds candidates."""


def text_digest(*parts: str) -> str:
    """sha256 hex of the parts, separated unambiguously."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


def digest_of(files: Mapping[str, str]) -> str:
    """One digest for a set of named digests, independent of order."""
    return text_digest(*(part for key in sorted(files) for part in (key, files[key])))


def project_of(document_id: str) -> str:
    """`jira:XD-123` → `XD`, `confluence:OPS/page` → `OPS`; empty where the id names none."""
    key = document_id.partition(":")[2]
    issue = _ISSUE.fullmatch(key)
    return issue[1] if issue else key.partition("/")[0] if "/" in key else ""
