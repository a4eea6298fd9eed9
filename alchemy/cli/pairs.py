"""`alchemy pairs`: look at what an adapter learns from."""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

from alchemy.cli import add_command
from alchemy.cli.output import Output
from alchemy.config import load_settings
from alchemy.errors import AlchemyError, ErrorCode


def register(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "pairs",
        pairs,
        "preview the training pairs of a run, or read its dataset card",
        "alchemy pairs --kind summary --count 5",
    )
    parser.add_argument("--run", metavar="RUN", help="default: the run of the live release")
    parser.add_argument("--held-out", action="store_true", help="those that nothing trains on")
    parser.add_argument("--kind", help="only this kind")
    parser.add_argument("--document", metavar="ID", help="only those made from this document")
    parser.add_argument("--count", type=int, default=3, metavar="N", help="how many (default: 3)")
    parser.add_argument("--seed", type=int, default=13, help="which ones (default: 13)")
    parser.add_argument("--card", action="store_true", help="the dataset card instead")


def pairs(arguments: argparse.Namespace, out: Output) -> None:
    """A random sample, the same for the same seed."""
    from alchemy.release.model import live_release
    from alchemy.stage import read_jsonl
    from alchemy.stores import open_lake
    from alchemy.synthesis.card import CARD
    from alchemy.types import SftPair

    lake = open_lake(load_settings(arguments.config).lake)
    live = live_release(lake)
    run_id = arguments.run or (live.run_id if live else None)
    if run_id is None:
        raise AlchemyError(
            ErrorCode.NOT_READY,
            "there is no live release whose pairs could be shown",
            "Name a run with --run, or run `data-alchemy full-cycle`.",
        )
    if arguments.card:
        card = lake.read(f"sft/{run_id}/{CARD}").decode()
        out.result({"run": run_id, "card": card}, card)
        return
    file = "sft_eval.jsonl" if arguments.held_out else "sft_train.jsonl"
    with tempfile.TemporaryDirectory(prefix="alchemy-") as scratch:
        lake.download(f"sft/{run_id}/{file}", Path(scratch) / file)
        found = [
            pair
            for pair in read_jsonl(Path(scratch) / file, SftPair)
            if arguments.kind in (None, pair.kind)
            and arguments.document in (None, *pair.document_ids)
        ]
    chosen = random.Random(arguments.seed).sample(found, min(arguments.count, len(found)))
    out.line(f"{len(chosen)} of {len(found)} pairs of {run_id}")
    for pair in chosen:
        text = f"\n[{pair.kind}, {', '.join(pair.document_ids)}]\n? {pair.instruction}\n{pair.response}"
        out.line(text, **pair.to_dict())
