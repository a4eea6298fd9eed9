"""The real HTTP application over small real engines, on a loopback port."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import uvicorn

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.knowledge.followup import standalone
from alchemy.protocols import GenerationRequest
from alchemy.serving.admission import Admission
from alchemy.serving.ask import Asker, Engines
from alchemy.serving.auth import Accounts
from alchemy.serving.exposition import merge
from alchemy.serving.feedback import FeedbackDesk
from alchemy.serving.sessions import Sessions
from alchemy.stores.lake_local import LocalLake
from alchemy.stores.redis import RedisStore
from alchemy.stores.tombstones import read_forgotten
from alchemy.types import (
    Answer,
    Chunk,
    Citation,
    Draft,
    Filters,
    Mode,
    Passage,
    Principal,
    Release,
)
from deployments.routes import Services, create_api

SECRET = "0123456789abcdef0123456789abcdef"
RELEASE = Release(
    id="rl-1",
    created_at="2015-10-07T20:46:44Z",
    run_id="run-1",
    index="ix-1",
    index_sha256="a" * 64,
    adapter="ad-1",
    adapter_digest="d" * 64,
    thresholds={},
    models={},
    prompts={},
    evaluation={},
)


def passage(number: int, text: str, acl: tuple[str, ...] = ("everyone",)) -> Passage:
    chunk = Chunk(
        id=f"documents:Taps#{number}",
        document_id="documents:Taps",
        source="documents",
        title="Taps",
        uri="https://docs.example/taps",
        tenant="default",
        acl=acl,
        text=text,
        ordinal=number,
        start=0,
        end=len(text),
        heading_path=("Taps", "Introduction"),
    )
    return Passage(chunk, score=1.0 / (number + 1), similarity=0.8, signals={"fused": 0.8})


CORPUS = [
    passage(0, "A tap listens to a stream without changing it."),
    passage(1, "Taps are named after the stream they listen to.", acl=("core", "docs")),
    passage(2, "Salaries are secret.", acl=("board",)),
]


@dataclass
class World:
    """Small engines over `CORPUS`, and what a test may make them do."""

    pause_s: float = 0.0
    search_fault: Exception | None = None
    draft_fault: Exception | None = None
    draft_s: float = 0.0
    fuse_fault: Exception | None = None
    fuse_release: str | None = None
    release: Release | None = RELEASE
    answered: int = 0
    cancelled: list[str] = field(default_factory=list)
    observed: list[tuple[str, str, int]] = field(default_factory=list)
    jobs: dict[str, tuple[str, str]] = field(default_factory=dict)
    job_fault: Exception | None = None
    asked: list[str] = field(default_factory=list[str])

    def reset(self) -> None:
        """As new; what is under way keeps what it has."""
        self.__dict__.update(World().__dict__)

    def engines(self) -> Engines:
        return Engines(standalone, self.search, self.draft, self.finalize, self.compute)

    async def compute(
        self, question: str, principal: Principal, release: str, filters: Filters
    ) -> tuple[Answer, list[Passage]] | None:
        """Counts the corpus, for questions that ask how many passages there are."""
        if not question.startswith("How many passages"):
            return None
        mine = [p for p in CORPUS if principal.may_read(p.chunk.tenant, p.chunk.acl)]
        plan = replace(CORPUS[0].chunk, id="records:ix#plan", document_id="records:ix", acl=())
        text = f"There are {len(mine)}. [1]"
        cited = Citation("records:ix", plan.id, "Query", "", plan.text)
        answer = Answer("c1", question, text, (cited,), 1.0, False, release, "none", "")
        return answer, [Passage(plan, 1.0, 0.0)]

    async def search(
        self,
        question: str,
        principal: Principal,
        release: str,
        top_k: int,
        filters: Filters,
        mode: Mode,
    ) -> list[Passage]:
        await asyncio.sleep(self.pause_s)
        self.asked.append(question)
        if self.search_fault:
            raise self.search_fault
        readable = [p for p in CORPUS if principal.may_read(p.chunk.tenant, p.chunk.acl)]
        sources = filters.sources
        return [p for p in readable if not sources or p.chunk.source in sources][:top_k]

    async def draft(
        self, question: str, principal: Principal, release: str, max_new_tokens: int
    ) -> Draft | None:
        try:
            await asyncio.sleep(self.draft_s)
        except asyncio.CancelledError:
            self.cancelled.append("draft")
            raise
        if self.draft_fault:
            raise self.draft_fault
        if "core" not in principal.groups:
            return None
        return Draft("taps listen", "ad-1", "d" * 64, 2, 0.01)

    async def finalize(
        self, question: str, passages: list[Passage], draft: Draft | None, release: str
    ) -> AsyncGenerator[str | Answer, None]:
        """Quotes every passage, word by word, twice as slowly as it could."""
        citations = tuple(
            Citation(
                document_id=p.chunk.document_id,
                chunk_id=p.chunk.id,
                title=p.chunk.title,
                uri=p.chunk.uri,
                quote=p.chunk.text,
                section=p.chunk.heading_path[-1],
            )
            for p in passages
        )
        text = " ".join(f"{c.quote} [{n}]" for n, c in enumerate(citations, 1))
        text = text or "Nothing I may show you answers that."
        try:
            for at, word in enumerate(text.split(" ")):
                await asyncio.sleep(self.pause_s)
                if at == 2 and self.fuse_fault:
                    raise self.fuse_fault
                yield word if at == 0 else f" {word}"
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append("finalize")
            raise
        self.answered += 1
        yield Answer(
            id=f"an-{hashlib.sha256(f'{id(self)}{self.answered}{question}'.encode()).hexdigest()[:16]}",
            question=question,
            text=text,
            citations=citations,
            confidence=0.9 if citations else 0.1,
            abstained=not citations,
            release=self.fuse_release or release,
            adapter="ad-1",
            adapter_digest="d" * 64,
        )

    async def owners(self, document_ids: Sequence[str]) -> dict[str, str]:
        chunks = [passage.chunk for passage in CORPUS]
        return {c.document_id: c.tenant for c in chunks if c.document_id in document_ids}

    async def embed(self, texts: list[str]) -> np.ndarray:
        rows = [np.frombuffer(hashlib.sha256(t.encode()).digest(), "u1")[:8] for t in texts]
        return np.stack(rows).astype(np.float32) / 255

    async def generate(
        self, request: GenerationRequest, principal: Principal, release: str
    ) -> AsyncGenerator[str | Draft, None]:
        words = request.prompt.split()[: request.max_new_tokens]
        for word in words:
            await asyncio.sleep(self.pause_s)
            yield f"{word} "
        yield Draft(" ".join(words), request.adapter, "d" * 64, len(words), 0.01)

    def submit(self) -> str:
        if self.job_fault:
            raise self.job_fault
        job_id = f"raysubmit_{len(self.jobs)}"
        self.jobs[job_id] = ("RUNNING", "")
        return job_id

    def status(self, job_id: str) -> tuple[str, str]:
        if job_id not in self.jobs:
            raise AlchemyError(ErrorCode.NOT_FOUND, f"the cluster knows no job {job_id!r}")
        return self.jobs[job_id]


def make_asker(
    world: World, sessions: Sessions, admission: Admission, deadline_s: float = 5.0
) -> Asker:
    return Asker(
        world.engines(), sessions, admission, passages=8, draft_tokens=16, deadline_s=deadline_s
    )


def make_services(
    world: World,
    redis_url: str,
    root: Path,
    *,
    deadline_s: float = 5.0,
    ongoing: int = 8,
    queued: int = 8,
) -> Services:
    kv = RedisStore(redis_url, timeout_s=1.0)
    lake = LocalLake(root)
    forgotten = partial(read_forgotten, lake)
    sessions = Sessions(kv, ttl_s=3600, keep_turns=3, forgotten=forgotten)
    admission = Admission(ongoing, queued)

    async def parts() -> dict[str, str]:
        try:
            await kv.ping()
        except AlchemyError as error:
            return {"redis": error.message}
        return {"redis": "ok"}

    async def look() -> object:
        return forgotten()

    async def metrics() -> bytes:
        return merge(
            [
                "# HELP ray_alchemy_http_requests_total n\n"
                "# TYPE ray_alchemy_http_requests_total counter\n"
                f'ray_alchemy_http_requests_total{{NodeAddress="n"}} {len(world.observed)}\n'
            ]
        )

    return Services(
        token_ttl_s=3600,
        accounts=Accounts(kv, SECRET, 3600, hash_rounds=1000),
        sessions=sessions,
        feedback=FeedbackDesk(lake, kv, sessions, forgotten),
        admission=admission,
        asker=make_asker(world, sessions, admission, deadline_s),
        engines=world.engines(),
        embed=world.embed,
        generate=world.generate,
        owners=world.owners,
        forgotten_changed=look,
        live=lambda: world.release,
        lake=lake,
        kv=kv,
        jobs=world,
        parts=parts,
        metrics=metrics,
        observe=lambda method, route, status, _: world.observed.append((method, route, status)),
    )


@contextmanager
def running(services: Services) -> Iterator[str]:
    """Serve until the block ends; the URL."""
    config = uvicorn.Config(create_api(services), port=0, log_config=None, ws_ping_interval=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
