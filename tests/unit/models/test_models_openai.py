"""The OpenAI-compatible provider against a small HTTP server that speaks the protocol."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from alchemy.config import ModelSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.registry import load_chat_model, load_embedder
from alchemy.protocols import ChatModel, Message

TALK = [Message("system", "be brief"), Message("user", "say it")]


class Server(BaseHTTPRequestHandler):
    """Behaves as the requested model's name says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer key-1":
            self._json(401, {"error": {"message": "bad key"}})
        elif body["model"] == "absent":
            self._json(404, {"error": {"message": "no such model"}})
        elif body["model"] == "slow":
            time.sleep(1.0)
            self.close_connection = True
        elif self.path.endswith("/embeddings"):
            rows = [
                {"index": i, "embedding": [len(t), 1.0, 0.0]} for i, t in enumerate(body["input"])
            ]
            self._json(200, {"data": rows[::-1], "model": "m", "object": "list"})
        elif body.get("stream"):
            self._stream(body)
        else:
            text = f"{body['messages'][-1]['content']}/{body['max_tokens']}"
            choices = [] if body["model"] == "mute" else [{"message": {"content": text}}]
            self._json(200, {"choices": choices})

    def _json(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if body["model"] == "breaks":
            self.send_header("Content-Length", "100000")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in ("Hel", "lo", " wörld"):
            event = {"choices": [{"index": 0, "delta": {"content": piece}}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        if body["model"] != "breaks":
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def remote(address: str, model: str = "good", **options: Any) -> ModelSettings:
    options = {"api_key": "key-1", "allow_remote": True, "max_retries": 0, **options}
    return ModelSettings(provider="openai", base_url=address, model_id=model, **options)


def chat(address: str, model: str = "good", **options: Any) -> ChatModel:
    made = load_chat_model(remote(address, model, **options))
    assert made is not None
    return made


def test_a_reply_is_completed_within_the_asked_length(address: str) -> None:
    assert chat(address).complete(TALK, 17) == "say it/17"


async def test_a_reply_is_streamed_in_pieces(address: str) -> None:
    assert [p async for p in chat(address).stream(TALK)] == ["Hel", "lo", " wörld"]


async def test_a_stream_that_breaks_off_is_an_error_not_an_end(address: str) -> None:
    pieces = []
    with pytest.raises(AlchemyError) as caught:
        async for piece in chat(address, "breaks").stream(TALK):
            pieces.append(piece)
    assert pieces == ["Hel", "lo", " wörld"]
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE


def test_vectors_come_back_in_order_and_normalised(address: str) -> None:
    embedder = load_embedder(remote(address, batch_size=2))
    vectors = embedder.encode(["a", "bb", "cccc"])
    assert embedder.dim == 3
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[:, 0] / vectors[:, 1], [1, 2, 4], rtol=1e-5)


def test_a_remote_model_is_forbidden_until_it_is_allowed(address: str) -> None:
    for load in (load_chat_model, load_embedder):
        with pytest.raises(AlchemyError) as caught:
            load(remote(address, allow_remote=False))
        assert caught.value.code is ErrorCode.REMOTE_FORBIDDEN
        assert "allow_remote: true" in caught.value.remedy


def test_the_key_of_the_environment_is_never_sent(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-1")
    with pytest.raises(AlchemyError, match="401"):
        chat(address, api_key="").complete(TALK)


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("good", {"api_key": "wrong"}, "api_key"),
        ("absent", {}, "model_id"),
        ("slow", {"timeout_s": 0.2}, "timeout_s"),
        ("mute", {}, "without a choice"),
    ],
)
def test_a_fault_of_the_server_is_one_typed_error(
    address: str, model: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(AlchemyError) as caught:
        chat(address, model, **options).complete(TALK)
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
    assert says in str(caught.value)


async def test_a_server_that_is_down_is_one_typed_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        model = chat(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        with pytest.raises(AlchemyError, match="base_url") as caught:
            model.complete(TALK)
        assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
        with pytest.raises(AlchemyError):
            _ = [piece async for piece in model.stream(TALK)]


def test_the_digest_names_address_and_model(address: str) -> None:
    digests = {chat(address).digest, chat(address, "other").digest, chat("http://h/v1").digest}
    assert len(digests) == 3
