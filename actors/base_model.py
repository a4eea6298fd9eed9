"""The base model of agent B: builds or finds what LoRA adapters extend."""

from __future__ import annotations

import ray
from ray.actor import ActorHandle

from actors.base import call, run_stage
from alchemy.config import Settings
from alchemy.training import base
from alchemy.types import Receipt


@ray.remote
class BaseModel:
    """Trains the embedded base once per lake; afterwards reuses it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Stage "base"."""
        return run_stage("base", base.run, self._settings, run_id, sink)


def start(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run the base stage in a BaseModel actor of this run."""
    return call(BaseModel, "base_model", settings, run_id, sink)
