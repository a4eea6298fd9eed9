"""The Python client: `connect(url, token=…)` → `Client`, `connect_async(…)` → `AsyncClient`.

Every fault is an `AlchemyError` with the server's own code. A 429 is waited out as the server asks,
a few times; nothing else is sent twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal, Self

import httpx
from websockets.asyncio.client import connect as open_websocket_async
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as open_websocket

from alchemy import _transport as transport
from alchemy import wire
from alchemy.types import Mode

DEFAULT_URL = "http://127.0.0.1:8000"
Event = transport.Event


def connect(
    url: str = DEFAULT_URL,
    token: str | None = None,
    *,
    user: str | None = None,
    password: str | None = None,
    timeout_s: float = 60.0,
) -> Client:
    """A blocking client. With user and password it signs in at once.

    Example:
        >>> with alchemy.connect(token="…") as client:
        ...     print(client.chat("What is a tap?").text)

    Raises:
        AlchemyError: AUTH_FAILED, or NOT_READY when nothing answers at `url`.
    """
    client = Client(transport.Session(url, token, user, password), timeout_s)
    try:
        client.sign_in()
    except BaseException:
        client.close()
        raise
    return client


def connect_async(
    url: str = DEFAULT_URL,
    token: str | None = None,
    *,
    user: str | None = None,
    password: str | None = None,
    timeout_s: float = 60.0,
) -> AsyncClient:
    """An async client. With user and password it signs in on `async with` or first use."""
    return AsyncClient(transport.Session(url, token, user, password), timeout_s)


class Client:
    """Blocking client; a context manager. Made by `connect`. Safe to share between threads."""

    def __init__(self, session: transport.Session, timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._http = httpx.Client(base_url=session.url, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def token(self) -> str | None:
        """The bearer token in use; None before signing in."""
        return self._session.token

    def sign_in(self) -> None:
        """Get a token with user and password, unless there is one."""
        self._drive(self._session.sign_in())

    def chat(
        self, question: str, session: str | None = None, sources: Sequence[str] | None = None
    ) -> wire.AnswerBody:
        """Ask and wait for the whole answer.

        Args:
            session: continue this conversation; None starts one, named in the answer.
            sources: only these sources, e.g. `["jira"]`.
        """
        return self._call(transport.chat_call(question, session, sources))

    def stream(
        self, question: str, session: str | None = None, sources: Sequence[str] | None = None
    ) -> Iterator[Event]:
        """Ask and get status, token and finally the answer event as they happen.

        Raises:
            AlchemyError: with the server's code when the stream ends in an error event.
        """
        body = transport.chat_body(question, session, sources).model_dump_json()
        self.sign_in()
        rules = transport.StreamRules(self._session)
        while True:
            begun = False
            try:
                for event in self._events(body):
                    begun = True
                    yield event
                return
            except transport.StreamFault as fault:
                renew, wait_s = rules.after(fault, begun)
            if renew:
                self._drive(self._session.sign_in(again=True))
            time.sleep(wait_s)

    def _events(self, body: str) -> Iterator[Event]:
        try:
            with open_websocket(
                self._session.websocket_url,
                additional_headers=self._session.headers,
                open_timeout=self._timeout_s,
                close_timeout=1.0,
            ) as socket:
                socket.send(body)
                while True:
                    event = transport.parse_event(socket.recv(timeout=self._timeout_s))
                    yield event
                    if isinstance(event, wire.AnswerEvent):
                        return
        except TimeoutError as error:
            raise self._session.too_slow(self._timeout_s) from error
        except (WebSocketException, OSError) as error:
            raise transport.stream_fault(self._session, error) from error

    def search(
        self,
        query: str,
        top_k: int = 8,
        sources: Sequence[str] | None = None,
        *,
        projects: Sequence[str] | None = None,
        since: str | None = None,
        until: str | None = None,
        mode: Mode = "hybrid",
        explain: bool = False,
    ) -> wire.SearchResponse:
        """Passages for a query, best first.

        Args:
            sources: only these sources, e.g. `["jira"]`.
            projects: only these Jira projects, wiki spaces, repositories or top folders.
            since, until: ISO 8601; last updated then or later, and before then.
            mode: by both signals, or by vectors (`dense`) or words (`lexical`) alone.
            explain: fill `signals` of each passage: what gave it its place.
        """
        return self._call(
            transport.search_call(
                query,
                top_k,
                sources=sources,
                projects=projects,
                since=since,
                until=until,
                mode=mode,
                explain=explain,
            )
        )

    def ingest(
        self,
        source: transport.IngestSource,
        records: Iterable[Mapping[str, Any]] | str | Path,
        *,
        run: bool = True,
    ) -> wire.IngestResponse:
        """Store records of one source in the raw lake and start a run on them.

        Args:
            records: records in the source's own export format, or the path of a `.jsonl` or
                `.json` file of them. More than 10,000 go in several requests; the response then
                names the last key and counts all records.
            run: start the pipeline when everything is stored.
        """
        calls = transport.ingest_calls(source, records, run)
        return transport.merged_ingest([self._call(call) for call in calls])

    def feedback(
        self,
        answer_id: str,
        rating: Literal["up", "down"],
        correction: str | None = None,
        comment: str | None = None,
    ) -> wire.FeedbackResponse:
        """Rate an answer, optionally with the better one."""
        return self._call(transport.feedback_call(answer_id, rating, correction, comment))

    def forget(
        self,
        *documents: str,
        reason: str = "",
        undo: bool = False,
        unknown: bool = False,
    ) -> wire.ForgetResponse:
        """Hide documents of the caller's tenant at once and for good; for admins.

        Args:
            undo: bring them back instead.
            unknown: also what no index knows yet.
        """
        return self._call(transport.forget_call(documents, reason, undo, unknown))

    def sessions(self) -> list[wire.SessionBody]:
        """The caller's conversations."""
        return self._call(transport.sessions_call())

    def me(self) -> wire.MeResponse:
        """Who the server takes the caller for."""
        return self._call(transport.me_call())

    def _call(self, call: transport.Call[transport.T]) -> transport.T:
        return self._drive(self._session.exchange(call))

    def _drive(self, steps: transport.Steps[transport.T]) -> transport.T:
        response: httpx.Response | None = None
        try:
            while True:
                step = steps.send(response)
                response = None
                if isinstance(step, transport.Wait):
                    time.sleep(step.seconds)
                else:
                    response = self._send(step)
        except StopIteration as done:
            return done.value

    def _send(self, step: transport.Send) -> httpx.Response:
        try:
            return self._http.request(step.method, step.path, json=step.body, headers=step.headers)
        except httpx.TimeoutException as error:
            raise self._session.too_slow(self._timeout_s) from error
        except httpx.TransportError as error:
            raise self._session.unreachable(error) from error


class AsyncClient:
    """Async client; an async context manager. Made by `connect_async`."""

    def __init__(self, session: transport.Session, timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(base_url=session.url, timeout=timeout_s)
        self._signing_in = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.sign_in()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def token(self) -> str | None:
        """The bearer token in use; None before signing in."""
        return self._session.token

    async def sign_in(self) -> None:
        """Get a token with user and password, unless there is one."""
        async with self._signing_in:  # concurrent first calls share one login
            await self._drive(self._session.sign_in())

    async def chat(
        self, question: str, session: str | None = None, sources: Sequence[str] | None = None
    ) -> wire.AnswerBody:
        """See `Client.chat`."""
        return await self._call(transport.chat_call(question, session, sources))

    async def stream(
        self, question: str, session: str | None = None, sources: Sequence[str] | None = None
    ) -> AsyncIterator[Event]:
        """See `Client.stream`."""
        body = transport.chat_body(question, session, sources).model_dump_json()
        await self.sign_in()
        rules = transport.StreamRules(self._session)
        while True:
            begun = False
            try:
                async with aclosing(self._events(body)) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except transport.StreamFault as fault:
                renew, wait_s = rules.after(fault, begun)
            if renew:
                await self._drive(self._session.sign_in(again=True))
            await asyncio.sleep(wait_s)

    async def _events(self, body: str) -> AsyncGenerator[Event]:
        try:
            async with open_websocket_async(
                self._session.websocket_url,
                additional_headers=self._session.headers,
                open_timeout=self._timeout_s,
                close_timeout=1.0,
            ) as socket:
                await socket.send(body)
                while True:
                    async with asyncio.timeout(self._timeout_s):
                        message = await socket.recv()
                    event = transport.parse_event(message)
                    yield event
                    if isinstance(event, wire.AnswerEvent):
                        return
        except TimeoutError as error:
            raise self._session.too_slow(self._timeout_s) from error
        except (WebSocketException, OSError) as error:
            raise transport.stream_fault(self._session, error) from error

    async def search(
        self,
        query: str,
        top_k: int = 8,
        sources: Sequence[str] | None = None,
        *,
        projects: Sequence[str] | None = None,
        since: str | None = None,
        until: str | None = None,
        mode: Mode = "hybrid",
        explain: bool = False,
    ) -> wire.SearchResponse:
        """See `Client.search`."""
        return await self._call(
            transport.search_call(
                query,
                top_k,
                sources=sources,
                projects=projects,
                since=since,
                until=until,
                mode=mode,
                explain=explain,
            )
        )

    async def ingest(
        self,
        source: transport.IngestSource,
        records: Iterable[Mapping[str, Any]] | str | Path,
        *,
        run: bool = True,
    ) -> wire.IngestResponse:
        """See `Client.ingest`."""
        calls = transport.ingest_calls(source, records, run)
        # a file is read and parsed in a thread: never a blocking call on the event loop
        done = object()
        responses: list[wire.IngestResponse] = []
        while (call := await asyncio.to_thread(next, calls, done)) is not done:
            responses.append(await self._call(call))  # pyright: ignore[reportArgumentType]
        return transport.merged_ingest(responses)

    async def feedback(
        self,
        answer_id: str,
        rating: Literal["up", "down"],
        correction: str | None = None,
        comment: str | None = None,
    ) -> wire.FeedbackResponse:
        """See `Client.feedback`."""
        return await self._call(transport.feedback_call(answer_id, rating, correction, comment))

    async def forget(
        self,
        *documents: str,
        reason: str = "",
        undo: bool = False,
        unknown: bool = False,
    ) -> wire.ForgetResponse:
        """See `Client.forget`."""
        return await self._call(transport.forget_call(documents, reason, undo, unknown))

    async def sessions(self) -> list[wire.SessionBody]:
        """See `Client.sessions`."""
        return await self._call(transport.sessions_call())

    async def me(self) -> wire.MeResponse:
        """See `Client.me`."""
        return await self._call(transport.me_call())

    async def _call(self, call: transport.Call[transport.T]) -> transport.T:
        await self.sign_in()
        return await self._drive(self._session.exchange(call))

    async def _drive(self, steps: transport.Steps[transport.T]) -> transport.T:
        response: httpx.Response | None = None
        try:
            while True:
                step = steps.send(response)
                response = None
                if isinstance(step, transport.Wait):
                    await asyncio.sleep(step.seconds)
                else:
                    response = await self._send(step)
        except StopIteration as done:
            return done.value

    async def _send(self, step: transport.Send) -> httpx.Response:
        try:
            return await self._http.request(
                step.method, step.path, json=step.body, headers=step.headers
            )
        except httpx.TimeoutException as error:
            raise self._session.too_slow(self._timeout_s) from error
        except httpx.TransportError as error:
            raise self._session.unreachable(error) from error
