"""Quant: makes the features, and `start`, which leads the four actors of the stage."""

from __future__ import annotations

import dataclasses
import time

import ray
from ray.actor import ActorHandle

from actors.base import call, run_stage
from actors.curator import Curator
from actors.scout import Scout
from actors.validator import Validator
from alchemy.config import Settings
from alchemy.quant.stage import clean, features_step
from alchemy.stores import open_lake
from alchemy.types import Receipt


@ray.remote
class Quant:
    """Third step of the quant stage: profile and table → feature recipes and first-degree features."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Make features; the receipt of this step, not of the stage."""
        return run_stage("quant", features_step, self._settings, run_id, sink)


def start(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run the stage: Scout, Validator, Quant and Curator, one after another, over files in the lake."""
    started = time.monotonic()
    call(Scout, "scout", settings, run_id, sink)
    call(Validator, "validator", settings, run_id, sink)
    call(Quant, "quant", settings, run_id, sink)
    receipt = call(Curator, "curator", settings, run_id, sink)
    clean(open_lake(settings.lake), run_id)
    return dataclasses.replace(receipt, seconds=round(time.monotonic() - started, 3))
