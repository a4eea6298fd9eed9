"""How an engine of `bench_clean.py` reports what its work took."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "bench-result:"


def machine_cpu_s() -> float:
    """CPU-seconds all processes of this machine have used."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def report(engine: str, start_s: float, work: Callable[[], dict[str, Any]]) -> None:
    """Time the work and print one line for the parent."""
    cpu, began = machine_cpu_s(), time.monotonic()
    result = work()
    figures = {
        "engine": engine,
        "start_s": round(start_s, 1),
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s": round(machine_cpu_s() - cpu, 1),
        **result,
    }
    print(MARK + json.dumps(figures), flush=True)
