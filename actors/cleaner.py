"""Cleaner: owns a RayDP Spark session for the time of a wash."""

from __future__ import annotations

import ray
from ray.actor import ActorHandle

from actors.base import call, run_stage
from actors.spark_session import spark_session
from alchemy.config import Settings
from alchemy.stage import StageContext
from alchemy.types import Receipt

UNIT_BYTES = 1 << 20
"""Raw bytes of one task's reading: small enough to keep all cores busy to the end."""


@ray.remote
class Cleaner:
    """Reads, cleans, deduplicates and cuts everything raw."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, run_id: str, sink: ActorHandle | None) -> Receipt:
        """Wash the raw lake as one run."""
        return run_stage("wash", wash, self._settings, run_id, sink)


def wash(context: StageContext) -> Receipt:
    """Plan the units, start Spark, run the stage, stop Spark."""
    from alchemy.cleaning import stage
    from alchemy.connectors.registry import plan_units, read_unit

    units = plan_units(context.lake, context.settings, UNIT_BYTES)
    with spark_session(context.settings.spark, context.scratch) as spark:
        return stage.run(context, spark, units, read_unit)


def start(settings: Settings, run_id: str, sink: ActorHandle | None) -> Receipt:
    """Run stage "wash" in its own actor."""
    return call(Cleaner, "cleaner", settings, run_id, sink)
