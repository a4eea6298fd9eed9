"""The stage graph, the identity of a run, and the decision what to skip.

A run is named by what it reads: the raw data, the settings that shape the result and the code's
version. The same input therefore continues the same run, and a retry is a resume.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import alchemy
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.stage import read_receipt, write_receipt
from alchemy.stores.tombstones import FORGOTTEN_INPUT
from alchemy.types import Receipt, text_digest


@dataclass(frozen=True)
class Stage:
    """A node of the graph.

    Attributes:
        needs: stages whose receipts this one reads.
        repeat: run even when a receipt verifies, because it acts on shared state (the live
            pointer); it must be idempotent.
    """

    name: str
    needs: tuple[str, ...] = ()
    repeat: bool = False


STAGES: tuple[Stage, ...] = (
    Stage("wash"),
    Stage("quant", ("wash",)),
    Stage("refine", ("wash", "quant")),
    Stage("index", ("wash", "quant")),
    Stage("base", ("wash",)),
    Stage("train", ("refine", "base")),
    Stage("tune", ("wash", "refine", "index")),
    Stage("evaluate", ("refine", "index", "train", "tune")),
    Stage("release", ("index", "train", "tune", "evaluate"), repeat=True),
    Stage("refresh", ("index",), repeat=True),
)
_BY_NAME = {stage.name: stage for stage in STAGES}
PARALLEL_STAGES = 2
"""Index and train run side by side; more would only queue for the same processors."""

_SHAPING = (
    "model_a",
    "model_b",
    "model_c",
    "model_d",
    "reranker",
    "reader",
    "cleaning",
    "archives",
    "quant",
    "synthesis",
    "training",
    "tuning",
    "retrieval",
    "evaluation",
)
_INERT = {"api_key", "timeout_s", "max_retries"}


def run_identity(raw_digest: str, settings: Settings, forgotten: str = "") -> str:
    """`run-<12 hex>` of raw data, result-shaping settings and code version.

    Args:
        forgotten: `Forgotten.digest`: with other documents to leave out it is another run.
    """
    shaping = settings.model_dump(mode="json", include=set(_SHAPING))
    for section in shaping.values():
        for key in _INERT & section.keys():
            del section[key]
    text = json.dumps(shaping, sort_keys=True)
    left_out = (forgotten,) if forgotten else ()
    return f"run-{text_digest(raw_digest, text, alchemy.__version__, *left_out)[:12]}"


def washed_otherwise(lake: Lake, run_id: str, forgotten: str) -> bool:
    """Whether this run's wash left out other documents than its name says.

    A tombstone that is written between the naming of a run and its wash makes such a one.
    """
    receipt = read_receipt(lake, run_id, "wash")
    return receipt is not None and receipt.inputs.get(FORGOTTEN_INPUT, "") != forgotten


def closure(targets: Iterable[str]) -> list[Stage]:
    """The targets and everything they need, in graph order; INPUT_INVALID for an unknown name."""
    wanted: set[str] = set()
    stack = list(targets)
    while stack:
        name = stack.pop()
        if name not in _BY_NAME:
            raise AlchemyError(
                ErrorCode.INPUT_INVALID,
                f"unknown stage {name!r}",
                f"Stages: {', '.join(_BY_NAME)}.",
            )
        if name not in wanted:
            wanted.add(name)
            stack += _BY_NAME[name].needs
    return [stage for stage in STAGES if stage.name in wanted]


def verified_receipt(
    lake: Lake, run_id: str, stage: Stage, done: Mapping[str, Receipt]
) -> Receipt | None:
    """The stored receipt when it still proves its output, else None.

    It must come from the same inputs (the receipts this run now has for the stages it needs), and
    each file it names must be in the lake with the recorded sha256.
    """
    receipt = read_receipt(lake, run_id, stage.name)
    if receipt is None:
        return None
    if any(receipt.inputs.get(name) != done[name].sha256 for name in stage.needs):
        return None
    for key, expected in receipt.files.items():
        try:
            digest = hashlib.sha256()
            for piece in lake.stream(key):
                digest.update(piece)
        except AlchemyError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return None
            raise
        if digest.hexdigest() != expected:
            return None
    return receipt


@dataclass
class RunReport:
    """What a run did; stored as `runs/<run_id>/report.json`."""

    run_id: str
    targets: tuple[str, ...]
    status: str
    started_at: str
    finished_at: str | None
    receipts: dict[str, Receipt]
    reused: list[str]
    error: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)


def run(
    lake: Lake,
    run_id: str,
    targets: Iterable[str],
    runners: Mapping[str, Callable[[], Receipt]],
    progress: Callable[[str, str, dict[str, Any]], None],
    again: Collection[str] = (),
) -> RunReport:
    """Run the targets and what they need; skip what verifies; store receipts and the report.

    Args:
        runners: stage name → function that does it (in an actor) and returns its receipt.
        progress: called with (stage, event, fields): `stage.started | reused | done | failed`.
        again: stages to run although their receipts verify.

    Raises:
        AlchemyError: of the first stage that failed, after stages running beside it ended and
            the report was written.
    """
    stages = closure(targets)
    report = RunReport(
        run_id=run_id,
        targets=tuple(targets),
        status="running",
        started_at=_now(),
        finished_at=None,
        receipts={},
        reused=[],
    )
    waiting = list(stages)
    failure: Exception | None = None
    running: dict[Future[Receipt], Stage] = {}
    with ThreadPoolExecutor(PARALLEL_STAGES, thread_name_prefix="stage") as pool:
        while waiting or running:
            ready = _startable(waiting, report.receipts)
            while ready and failure is None and len(running) < PARALLEL_STAGES:
                stage = ready[0]
                waiting.remove(stage)
                known = verified_receipt(lake, run_id, stage, report.receipts)
                if known is not None and not stage.repeat and stage.name not in again:
                    report.receipts[stage.name] = known
                    report.reused.append(stage.name)
                    progress(stage.name, "stage.reused", known.to_dict())
                else:
                    progress(stage.name, "stage.started", {})
                    running[pool.submit(runners[stage.name])] = stage
                ready = _startable(waiting, report.receipts)
            if running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    stage = running.pop(future)
                    try:
                        receipt = _complete(lake, stage, future.result(), report.receipts)
                    except Exception as error:  # noqa: BLE001 - kept, reported and raised below
                        failure = failure or error
                        progress(stage.name, "stage.failed", {"error": str(error)})
                        continue
                    report.receipts[stage.name] = receipt
                    progress(stage.name, "stage.done", receipt.to_dict())
            elif failure is not None:
                break
    report.status = "failed" if failure else "succeeded"
    report.finished_at = _now()
    if failure is not None:
        typed = AlchemyError.unwrap(failure) or AlchemyError(ErrorCode.STAGE_FAILED, str(failure))
        report.error = typed.to_dict()
    lake.write(f"runs/{run_id}/report.json", json.dumps(report.to_dict(), indent=1).encode())
    if failure is not None:
        raise failure
    return report


def _startable(waiting: Iterable[Stage], done: Mapping[str, Receipt]) -> list[Stage]:
    return [stage for stage in waiting if done.keys() >= set(stage.needs)]


def _complete(lake: Lake, stage: Stage, receipt: Receipt, done: Mapping[str, Receipt]) -> Receipt:
    """Bind the receipt to the receipts it was made from, and store it."""
    inputs = {**receipt.inputs, **{name: done[name].sha256 for name in stage.needs}}
    bound = dataclasses.replace(receipt, inputs=inputs)
    write_receipt(lake, bound)
    return bound


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
