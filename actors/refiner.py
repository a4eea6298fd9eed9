"""Refiner: the refine stage, with its units spread over Ray Data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.base import call, run_stage
from alchemy import logs
from alchemy.cleaning import pii
from alchemy.config import Settings
from alchemy.connectors.feedback import read_feedback
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.stage import StageContext
from alchemy.stores import open_lake
from alchemy.synthesis import stage
from alchemy.synthesis.pairs import PairWriter
from alchemy.synthesis.refining import Refined, RefineUnit, make_writer, refine_unit
from alchemy.types import Receipt

_WORKER_CPUS = 0.25
_MOST_WORKERS = 16


class RefineWorker:
    """Ray Data's unit of work; holds the pair writer and its model."""

    def __init__(self, settings: Settings) -> None:
        logs.configure()
        self._settings = settings
        self._lake = open_lake(settings.lake)
        self._writer: PairWriter | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row holding a `RefineUnit` → a row holding its `Refined`, or the typed error.

        Ray Data reports an exception as text, without its type: so errors travel as rows.
        """
        unit = RefineUnit.from_dict(json.loads(row["unit"]))
        try:
            if self._writer is None:
                self._writer = make_writer(self._settings)
            refined = refine_unit(self._lake, unit, self._writer, self._settings)
        except AlchemyError as error:
            fault = json.dumps([error.code.code, error.message, error.remedy])
            return {"refined": "", "error": fault}
        return {"refined": refined.to_json(), "error": ""}


def spread(units: Sequence[RefineUnit], settings: Settings) -> Iterator[Refined]:
    """Refine units in parallel; results in order. See `stage.Spread`."""
    if not units:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    cpus = int(ray.cluster_resources().get("CPU", 1))
    # a worker's share is small, so that serving and the pipeline's own actors leave it room
    workers = max(1, min(cpus, len(units), _MOST_WORKERS))
    rows = [{"unit": unit.to_json()} for unit in units]
    worker: Any = RefineWorker  # the stub knows functions only
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        worker,
        fn_constructor_args=(settings,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
        num_cpus=_WORKER_CPUS,
    )
    for row in results.iter_rows():
        if row["error"]:
            code, message, remedy = json.loads(row["error"])
            raise AlchemyError(ErrorCode.from_code(code), message, remedy)
        yield Refined.from_dict(json.loads(row["refined"]))


def run(context: StageContext) -> Receipt:
    """Stage "refine" on Ray Data. See `alchemy.synthesis.stage`."""
    pii.check()
    return stage.run(context, read_feedback(context.lake), pii.redact_together, spread)


@ray.remote
class Refiner:
    """Writes the training pairs of a run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Stage "refine"."""
        return run_stage("refine", run, self._settings, run_id, sink)


def start(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run the refine stage in a Refiner actor of this run."""
    return call(Refiner, "refiner", settings, run_id, sink)
