"""Wash a corpus with several engines, the same steps and kernels, and compare what it costs.

    python scripts/bench_clean.py --mb 50                  # all engines, one after another
    python scripts/bench_clean.py --mb 200 --engines raydp,polars --out bench.json

The corpus is real: the Jira issues of `--issues DIR` (CSV files with title and description),
repeated with variation until there are `--mb` megabytes of raw JSON Lines, with planted personal
data, exact and near duplicates. Steps: parse, normalise, redact, quality signals and language, exact
and near duplicates (MinHash LSH, verified), boilerplate, chunk, metrics, write.

Engines: `raydp` this project's plan on RayDP; `spark-local` the same plan on Spark local mode;
`ray` this project's engine for increments; `ray-data` the same kernels as one writes them with Ray
Data; `datatrove` (pip install "datatrove[io,processing]" spacy, then once more fasttext-predict, which
datatrove's fasttext displaces) its own reader, PII formatter and MinHash steps with our
chunker; `polars` one process, the same kernels, duplicates in Polars.

Each engine runs in its own process. CPU-seconds are of the whole machine while it works (so run
nothing else), start-up (cluster, session) apart; memory is the peak of the sum of proportional set
sizes of its processes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import bench_clean_engines
from bench_clean_engines import RUNNERS
from bench_clean_report import MARK

FILE_MB = 8


# --- the corpus -----------------------------------------------------------------------------------


def issues(directory: Path) -> list[tuple[str, str, str]]:
    """(key, title, description) of every row of every CSV file."""
    csv.field_size_limit(1 << 27)
    found: list[tuple[str, str, str]] = []
    for path in sorted(directory.glob("*.csv")):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                found.append((row["issuekey"], row["title"] or "", row["description"] or ""))
    return found


def varied(text: str, words: list[str], chance: random.Random) -> str:
    """About one word in six exchanged for another of the corpus; lines stay."""
    return "\n".join(
        " ".join(
            chance.choice(words) if word.isalpha() and chance.random() < 0.17 else word
            for word in line.split(" ")
        )
        for line in text.split("\n")
    )


def write_corpus(source: Path, target: Path, megabytes: int, seed: int = 13) -> int:
    """JSON Lines files of about FILE_MB each; how many records."""
    chance = random.Random(seed)
    base = issues(source)
    words = [w for _, title, _ in base for w in title.split() if w.isalpha()]
    target.mkdir(parents=True)
    size = count = round_number = 0
    held: list[str] = []
    held_size = files = 0
    while size < megabytes << 20:
        for key, title, description in base:
            draw = chance.random()
            if round_number == 0 or draw < 0.02:  # as it is: in later rounds an exact duplicate
                text = description
            elif draw < 0.05:
                text = f"{description}\nSeen again on node {chance.randrange(10**6)}."
            else:
                text = varied(description, words, chance)
            if chance.random() < 0.05:
                text += f"\nAsk user{chance.randrange(10**6)}@example.org at 10.{chance.randrange(256)}.7.9"
            record = {"key": f"{key}-{round_number}".upper(), "summary": title, "description": text}
            line = json.dumps(record) + "\n"
            held.append(line)
            held_size += len(line)
            size += len(line)
            count += 1
            if held_size >= FILE_MB << 20 or size >= megabytes << 20:
                (target / f"part-{files:05}.jsonl").write_text("".join(held))
                files, held, held_size = files + 1, [], 0
            if size >= megabytes << 20:
                break
        round_number += 1
    return count


# --- measuring ------------------------------------------------------------------------------------


def tree_pss(pid: int) -> int:
    """Sum of the proportional set sizes of a process and its descendants, bytes."""
    import psutil

    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(
            int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:")
        )
    return total


def measure(engine: str, raw: Path) -> dict[str, Any]:
    """Run one engine in its own process and sample the memory of its tree."""
    environment = {**os.environ, "RAY_TRAIN_V2_ENABLED": "1", "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, bench_clean_engines.__file__, engine, str(raw)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        peak = 0

        def watch() -> None:
            nonlocal peak
            while process.poll() is None:
                peak = max(peak, tree_pss(process.pid))
                time.sleep(1)

        watcher = threading.Thread(target=watch)
        watcher.start()
        process.wait()
        watcher.join()
        output.seek(0)
        lines = output.read().splitlines()
    for line in lines:
        if line.startswith(MARK):
            return {**json.loads(line.removeprefix(MARK)), "peak_mb": round(peak / 2**20)}
    return {"engine": engine, "error": " | ".join(lines[-3:])[:400]}


def main() -> None:
    """Make the corpus, run the engines one after another, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=50, help="raw megabytes (default 50)")
    parser.add_argument("--issues", type=Path, default=Path("../shared/data/jira_gpt2sp"))
    parser.add_argument("--engines", default=",".join(RUNNERS), help="comma-separated")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alchemy-corpus-") as place:
        raw = Path(place) / "raw"
        records = write_corpus(options.issues, raw, options.mb)
        print(f"{records} records, {options.mb} MB raw, {os.cpu_count()} cores", flush=True)
        head = ("engine", "start_s", "wall_s", "cpu_s", "ms/record", "records/s", "peak_mb", "kept")
        print(("{:>12}" * len(head)).format(*head), flush=True)
        results = []
        for engine in options.engines.split(","):
            found = measure(engine, raw)
            results.append(found)
            if "error" in found:
                print(f"{engine:>12}  failed: {found['error']}", flush=True)
                continue
            row = (
                *(engine, found["start_s"], found["wall_s"], found["cpu_s"]),
                round(1000 * found["cpu_s"] / records, 2),
                round(records / found["wall_s"]),
                *(found["peak_mb"], found["kept"]),
            )
            print(("{:>12}" * len(row)).format(*row), flush=True)
    if options.out:
        figures = {"megabytes": options.mb, "records": records, "engines": results}
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
