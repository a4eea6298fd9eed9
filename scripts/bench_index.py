"""Build and ask indexes of growing size, this project's and its peers', and compare.

    python scripts/bench_index.py --chunks 10000,100000                 # all engines
    python scripts/bench_index.py --chunks 1000000 --engines alchemy --out bench.json

Chunks are of real words, vectors are those of real issues with noise, questions are titles of other
real issues (`bench_index_corpus.py`). For each engine and size: seconds to build, megabytes on
disk, seconds to open and answer once, time of a question (hybrid where the engine has both halves)
for who may read everything and for who may read one chunk in a hundred, recall@10 of the vector
half against comparing all, and memory after it (`resident_mb` with pages of mapped files, which
processes share; `own_mb` without).

Engines: `alchemy` this project, `alchemy-hnsw` with a graph; `lancedb`; of the lexical half alone
`tantivy`, `bm25s`, `fts5` (`pip install lancedb tantivy bm25s`). Each builds and answers in
processes of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import bench_index_engines
from bench_index_engines import ENGINES, MARK

COLUMNS = (
    *("build_s", "build_cpu_s", "size_mb", "load_s"),
    *("p50_ms all", "p99_ms all", "recall@10 all"),
    *("p50_ms 1%", "p99_ms 1%", "recall@10 1%", "resident_mb", "own_mb"),
)


def run(*arguments: str) -> dict[str, Any]:
    """One phase in its own process; its figures, or `error`."""
    done = subprocess.run(
        [sys.executable, bench_index_engines.__file__, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    if done.returncode:
        return {"error": " | ".join((done.stdout + done.stderr).splitlines()[-3:])[:400]}
    return {}


def main() -> None:
    """Run all engines at all sizes, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", default="10000,100000", help="sizes, comma-separated")
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma-separated")
    parser.add_argument("--issues", type=Path, default=Path("../shared/data/jira_gpt2sp"))
    parser.add_argument("--cache", type=Path, help="keep vectors and indexes here")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="alchemy-index-") as scratch:
        cache = options.cache or Path(scratch)
        print(("{:>14}{:>9}" + "{:>14}" * len(COLUMNS)).format("engine", "chunks", *COLUMNS))
        for count in options.chunks.split(","):
            shared = (str(options.issues), str(cache), count)
            failed = run("truth", "", "", *shared)
            if failed:
                raise SystemExit(failed["error"])
            for engine in options.engines.split(","):
                place = str(cache / f"{engine}-{count}")
                figures = run(engine, "build", place, *shared)
                if "error" not in figures:
                    figures |= run(engine, "query", place, *shared)
                results.append({"engine": engine, "chunks": int(count), **figures})
                row = [str(figures.get(column, "-")) for column in COLUMNS]
                print(("{:>14}{:>9}" + "{:>14}" * len(row)).format(engine, count, *row), flush=True)
                if "error" in figures:
                    print(f"{engine:>14}  failed: {figures['error']}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
