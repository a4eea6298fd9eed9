"""Curator: selects and ranks features, and writes the insights."""

from __future__ import annotations

import ray
from ray.actor import ActorHandle

from actors.base import run_stage
from alchemy.config import Settings
from alchemy.quant.stage import curate_step
from alchemy.types import Receipt


@ray.remote
class Curator:
    """Last step of the quant stage."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Select and explain; the receipt of the stage."""
        return run_stage("quant", curate_step, self._settings, run_id, sink)
