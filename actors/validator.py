"""Validator: checks the profile of a run against the contract and the live release."""

from __future__ import annotations

import json

import ray
from ray.actor import ActorHandle

from actors.base import run_stage
from alchemy import logs
from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.quant.stage import PROFILE, Baseline, validate_step
from alchemy.release.model import live_release
from alchemy.types import Receipt


@ray.remote
class Validator:
    """Second step of the quant stage: stops the run on a broken contract or on drift."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Check; the receipt of this step, not of the stage."""
        return run_stage(
            "quant",
            lambda context: validate_step(context, live_baseline(context.lake, run_id)),
            self._settings,
            run_id,
            sink,
        )


def live_baseline(lake: Lake, run_id: str) -> Baseline | None:
    """Profile of the run that made the live release; None before the first, or for that run itself."""
    release = live_release(lake)
    if release is None or release.run_id == run_id:
        return None
    key = f"quant/{release.run_id}/{PROFILE}"
    if not lake.exists(key):
        logs.get_logger().warning("quant.baseline_missing", release=release.id, key=key)
        return None
    try:
        profile = json.loads(lake.read(key))
    except ValueError as error:
        raise AlchemyError(
            ErrorCode.CORRUPT,
            f"{key} in {lake.uri} is damaged",
            f"Run the quant stage of run {release.run_id} again.",
        ) from error
    return Baseline(profile, f"live release {release.id}", release.run_id)
