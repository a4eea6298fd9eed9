"""Scout: profiles the metrics of a run."""

from __future__ import annotations

import ray
from ray.actor import ActorHandle

from actors.base import run_stage
from alchemy.config import Settings
from alchemy.quant.stage import scout_step
from alchemy.types import Receipt


@ray.remote
class Scout:
    """First step of the quant stage: metrics → canonical table and profile in the lake."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Profile; the receipt of this step, not of the stage."""
        return run_stage("quant", scout_step, self._settings, run_id, sink)
