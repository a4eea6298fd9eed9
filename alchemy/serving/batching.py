"""Requests that share forward passes, each with its own end.

The model runs in a worker thread, one step at a time, so that the event loop stays free and the
steps of several batches take turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from alchemy.protocols import GenerationRequest, Generator
from alchemy.types import Draft


@dataclass(frozen=True)
class Job:
    """One request of a batch, and the digest of the weights that answer it."""

    request: GenerationRequest
    digest: str


async def run_together(
    model: Generator, jobs: Sequence[Job], worker: Executor
) -> AsyncGenerator[list[str | Draft | None], None]:
    """After each step, what each job got: a piece of text, at its end the `Draft`, then None.

    A finished job gets its draft one step after its last piece, whatever the others still do.

    Args:
        worker: runs the steps; with one thread, batches alternate step by step.
    """
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    pieces: list[list[str]] = [[] for _ in jobs]
    running = [True] * len(jobs)
    steps = await loop.run_in_executor(worker, model.stream, [job.request for job in jobs])
    try:
        while (step := await loop.run_in_executor(worker, next, steps, None)) is not None:
            row: list[str | Draft | None] = [None] * len(jobs)
            for at, piece in enumerate(step):
                if piece is not None:
                    pieces[at].append(piece)
                    row[at] = piece
                elif running[at]:
                    running[at] = False
                    row[at] = Draft(
                        text="".join(pieces[at]),
                        adapter=jobs[at].request.adapter,
                        digest=jobs[at].digest,
                        tokens=len(pieces[at]),
                        seconds=round(time.perf_counter() - started, 6),
                    )
            yield row
    finally:
        close = getattr(steps, "close", None)
        if close is not None:
            await loop.run_in_executor(worker, close)
