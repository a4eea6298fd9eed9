"""How an engine of `bench_clean.py` reports what its work took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

MARK = "bench-result:"


def tree_cpu_s() -> float:
    """CPU-seconds this process, its descendants and those of them that ended have used."""
    import psutil

    me, used = psutil.Process(), 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system + times.children_user + times.children_system
    return used


def report(engine: str, start_s: float, work: Callable[[], dict[str, Any]]) -> None:
    """Time the work and print one line for the parent."""
    cpu, began = tree_cpu_s(), time.monotonic()
    result = work()
    figures = {
        "engine": engine,
        "start_s": round(start_s, 1),
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s": round(tree_cpu_s() - cpu, 1),
        **result,
    }
    print(MARK + json.dumps(figures), flush=True)
