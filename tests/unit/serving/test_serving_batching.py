"""Requests that share steps, over a small real generator."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import GenerationRequest
from alchemy.serving.batching import Job, run_together
from alchemy.types import Draft


class Echo:
    """Says its prompt word by word, in steps that all requests share."""

    digest = "b" * 64

    def __init__(self, step_s: float = 0.0, fault_at: int | None = None) -> None:
        self._step_s = step_s
        self._fault_at = fault_at
        self.threads: set[int] = set()
        self.closed = False
        self.log: list[str] = []

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Draft]:
        raise AssertionError("batches are streamed")

    def stream(self, requests: Sequence[GenerationRequest]) -> Iterator[list[str | None]]:
        words = [r.prompt.split()[: r.max_new_tokens] for r in requests]
        try:
            for step in range(max(map(len, words)) + 1):
                time.sleep(self._step_s)
                self.threads.add(threading.get_ident())
                self.log.append(requests[0].prompt[0])
                if step == self._fault_at:
                    raise AlchemyError(ErrorCode.MODEL_UNAVAILABLE, "out of memory")
                yield [w[step] if step < len(w) else None for w in words]
        finally:
            self.closed = True


def job(prompt: str, limit: int = 64) -> Job:
    return Job(GenerationRequest(prompt, limit, adapter="ad-1"), "d" * 64)


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def rows(model: Echo, jobs: list[Job], worker: ThreadPoolExecutor) -> list[list[object]]:
    return [list(row) async for row in run_together(model, jobs, worker)]


async def test_each_job_gets_its_pieces_then_its_draft_then_nothing(
    worker: ThreadPoolExecutor,
) -> None:
    got = await rows(Echo(), [job("a b c d"), job("x y"), job("p q r s", limit=1)], worker)
    columns = list(zip(*got, strict=True))
    assert [c for c in columns[0] if isinstance(c, str)] == ["a", "b", "c", "d"]
    assert [c for c in columns[1] if isinstance(c, str)] == ["x", "y"]
    assert [c for c in columns[2] if isinstance(c, str)] == ["p"]
    for column, (text, tokens) in zip(columns, [("abcd", 4), ("xy", 2), ("p", 1)], strict=True):
        (draft,) = [c for c in column if isinstance(c, Draft)]
        assert (draft.text, draft.tokens, draft.adapter, draft.digest) == (
            text,
            tokens,
            "ad-1",
            "d" * 64,
        )
        after = column[column.index(draft) + 1 :]
        assert set(after) <= {None}


async def test_a_short_job_ends_one_step_after_its_last_piece(worker: ThreadPoolExecutor) -> None:
    got = await rows(Echo(), [job("a b c d e f g h"), job("x")], worker)
    assert [type(row[1]) for row in got[:3]] == [str, Draft, type(None)]


async def test_the_model_runs_in_the_worker_and_the_loop_stays_free(
    worker: ThreadPoolExecutor,
) -> None:
    model = Echo(step_s=0.05)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await rows(model, [job("a b c")], worker)
    ticking.cancel()
    assert ticks > 15
    assert threading.get_ident() not in model.threads and len(model.threads) == 1


async def test_two_batches_take_turns_step_by_step(worker: ThreadPoolExecutor) -> None:
    model = Echo(step_s=0.005)
    await asyncio.gather(
        rows(model, [job("a a a a a a")], worker), rows(model, [job("b b b b b b")], worker)
    )
    assert "ab" * 3 in "".join(model.log) or "ba" * 3 in "".join(model.log)


async def test_a_caller_that_stops_ends_the_work(worker: ThreadPoolExecutor) -> None:
    model = Echo()
    stream = run_together(model, [job("a b c d")], worker)
    await anext(stream)
    await stream.aclose()
    assert model.closed and len(model.log) == 1


async def test_a_fault_of_the_model_reaches_the_caller(worker: ThreadPoolExecutor) -> None:
    model = Echo(fault_at=2)
    with pytest.raises(AlchemyError, match="out of memory"):
        await rows(model, [job("a b c d")], worker)
    assert model.closed
