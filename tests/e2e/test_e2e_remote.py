"""What a remote model server receives of a company with planted secrets: every request is read."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import leaks
import pytest
from planted_company import Company

from actors.cleaner import raw_data
from alchemy.cleaning import pii
from alchemy.cleaning import stage as wash
from alchemy.cleaning.local import LocalEngine
from alchemy.cleaning.parts import Job
from alchemy.cleaning.plan import Engine, ReadUnit, UnitDone, UnitTask
from alchemy.cleaning.reading import read_task
from alchemy.config import LakeSettings, ModelSettings, Settings
from alchemy.finalist.prompts import FUSION, fusion_messages
from alchemy.knowledge import stage as index
from alchemy.models.outgoing import service_chat_model, service_embedder
from alchemy.models.registry import load_embedder
from alchemy.stage import StageContext, write_jsonl, write_receipt
from alchemy.stores import open_lake
from alchemy.synthesis import stage as refine
from alchemy.types import Insight

QUESTIONS = 200


@dataclass
class Received:
    """Bodies of the requests that reached the server."""

    chats: list[str] = field(default_factory=list)
    embeddings: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def remote() -> Iterator[tuple[str, Received]]:
    """Address of an OpenAI-compatible server, and what it was sent."""
    received = Received()

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet a reply: two would wait for an acknowledgement in between

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            body = json.loads(text)
            if self.path.endswith("/embeddings"):
                received.embeddings.append(text)
                vector = [1.0, 0.0, 0.0, 0.0]
                rows = [{"index": n, "embedding": vector} for n in range(len(body["input"]))]
                reply = json.dumps({"data": rows, "model": "m", "object": "list"})
            else:
                received.chats.append(text)
                reply = json.dumps({"choices": [{"message": {"content": "[]"}}]})
                if body.get("stream"):
                    piece = {"choices": [{"index": 0, "delta": {"content": "UNKNOWN"}}]}
                    reply = f"data: {json.dumps(piece)}\n\ndata: [DONE]\n\n"
            self.send_response(200)
            kind = "text/event-stream" if body.get("stream") else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", received
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def company() -> Company:
    return Company()


@pytest.fixture(scope="module")
def settings(remote: tuple[str, Received], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Every model that can be remote is."""
    model = ModelSettings(
        provider="openai", base_url=remote[0], model_id="m", allow_remote=True, max_retries=0
    )
    root = tmp_path_factory.mktemp("remote")
    lake = LakeSettings(root=str(root))
    return Settings(lake=lake, model_a=model, model_b=model, model_d=model)


def read_here(job: Job, read_unit: ReadUnit, tasks: Sequence[UnitTask]) -> list[UnitDone]:
    return [read_task(job, read_unit, task) for task in tasks]


@contextmanager
def local_engine(order: wash.Order) -> Iterator[Engine]:
    yield LocalEngine(order.job, read_here, order.previous)


def test_the_stages_send_no_secret(
    settings: Settings, remote: tuple[str, Received], company: Company, tmp_path: Path
) -> None:
    lake = open_lake(settings.lake)
    raw = Path(settings.lake.root) / "raw"
    for source in ("jira", "git_pr", "confluence", "documents", "database"):
        (raw / source).mkdir(parents=True)
    company.write(raw)

    def context(stage: str) -> StageContext:
        (tmp_path / stage).mkdir()
        return StageContext("run-1", stage, settings, lake, tmp_path / stage)

    washed = wash.run(context("wash"), raw_data(settings), local_engine)
    write_receipt(lake, washed)
    quant = context("quant")
    write_jsonl(quant.out("insights.jsonl"), [Insight("jira:SEC-0", "SEC-0 is large.")])
    files = {"insights.jsonl": quant.out("insights.jsonl")}
    write_receipt(lake, quant.finish("quant/run-1", files, rows=1, schema=(), inputs={}))
    refine.run(context("refine"), (), pii.redact_together)
    indexed = index.run(context("index"), load_embedder(settings.model_b))

    _, received = remote
    assert len(received.chats) == indexed.counts["chunks"] > 300
    assert sum(len(json.loads(body)["input"]) for body in received.embeddings) > 300
    assert "[SECRET_1]" in "".join(received.chats) and "[EMAIL_1]" in "".join(received.embeddings)
    sent = "\n".join(received.chats + received.embeddings)
    assert not leaks.Finder(company.secrets).in_text(sent)


def test_the_service_sends_no_secret_of_a_question(
    settings: Settings, remote: tuple[str, Received], company: Company
) -> None:
    _, received = remote
    received.chats.clear()
    received.embeddings.clear()
    embedder, chat = (
        service_embedder(settings.model_b, pii.redact_together),
        service_chat_model(settings.model_d, pii.redact_together),
    )
    assert chat is not None
    questions = [f"Who wrote this?\n{text}" for text in company.texts[:QUESTIONS]]
    embedder.encode(questions)

    async def ask() -> None:
        for question in questions[::2]:
            messages = fusion_messages(FUSION, question, [], None)
            assert [piece async for piece in chat.stream(messages)] == ["UNKNOWN"]

    asyncio.run(ask())
    for question in questions[1::2]:
        chat.complete(fusion_messages(FUSION, question, [], None))
    sent = "\n".join(received.chats + received.embeddings)
    assert sent.count("Who wrote this?") == 2 * QUESTIONS
    assert not leaks.Finder(company.secrets).in_text(sent)
