"""Spark's Python daemon with everything loaded that the steps of a wash need.

Spark forks an executor's Python workers from it, and collects garbage after every task. Loaded here,
modules are read once and shared by the workers; frozen, no collection walks through them, which
costs more than a small task does. Records hold no cycles: between tasks there is little to collect.
"""

from __future__ import annotations

import gc

from pyspark import daemon
from pyspark.sql.pandas import serializers  # noqa: F401  (what a worker imports for Arrow)

from alchemy.cleaning import spark  # noqa: F401
from alchemy.connectors import registry  # noqa: F401

_ALLOCATIONS = 100_000
"""More objects than before, after which a worker looks for cycles."""

if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 100)
    daemon.manager()
