"""Console scripts that users of the first system know: `train-lora`, `schedule-sync`."""

from __future__ import annotations

import sys

from alchemy.cli import main

_SCHEDULE_COMMANDS = ("full-cycle", "schedule")


def train_lora() -> None:
    """`train-lora [options]` is `data-alchemy train [options]`."""
    main(["train", *sys.argv[1:]], prog="train-lora")


def schedule_sync() -> None:
    """`schedule-sync full-cycle|schedule …` is the command of that name."""
    given = sys.argv[1:]
    if not given or given[0] not in (*_SCHEDULE_COMMANDS, "-h", "--help"):
        sys.stderr.write("schedule-sync: give full-cycle or schedule (see schedule-sync --help)\n")
        raise SystemExit(2)
    main(given, prog="schedule-sync")
