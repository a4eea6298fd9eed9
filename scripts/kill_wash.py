"""Wash a corpus undisturbed, then again while a process dies in the middle, and compare the bytes.

    python scripts/kill_wash.py --mb 200

The corpus is that of `bench_clean.py`. Who dies, each in a wash of its own: an executor (while units
are read, and again while documents are finished), the Spark master, the Cleaner actor, and last the
whole pipeline with its Ray cluster, which is then started again as a user would. Prints one line for
each with what it cost; ends with status 1 when any file differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from bench_clean import write_corpus

from alchemy.config import SparkSettings

VICTIMS = {
    "executor": f"-Xms{SparkSettings().executor_memory_mb}M",
    "master": "-Dspark.executor.instances=",
    "cleaner": "ray::Cleaner",
}
"""What the command line of a process holds, and no other's."""
RUN = "run1"


def wash(root: Path) -> None:
    """One wash by the Cleaner actor, in a Ray cluster of its own."""
    import ray

    from actors import cleaner
    from alchemy.config import LakeSettings, Settings, SyncSettings

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    settings = Settings(
        lake=LakeSettings(root=str(root)), sync=SyncSettings.model_validate({"engine": "spark"})
    )
    cleaner.start(settings, RUN, None)
    ray.shutdown()


def half_read(root: Path) -> bool:
    """Whether half of the units have been read."""
    units = max(1, sum(path.stat().st_size for path in root.glob("raw/*/*")) >> 20)
    return 2 * len(list(root.glob("washed/*/*/*/done.json"))) >= units


def half_finished(root: Path) -> bool:
    """Whether half of the documents, by what their parts hold, are finished."""
    raw = sum(path.stat().st_size for path in root.glob("raw/*/*"))
    done = sum(path.stat().st_size for path in root.glob(f"processed/{RUN}/parts/*/corpus/*"))
    return 2 * done >= raw


PLANS: dict[str, list[tuple[str, Callable[[Path], bool]]]] = {
    "undisturbed": [],
    "executor": [("executor", half_read), ("executor", half_finished)],
    "master": [("master", half_read)],
    "cleaner": [("cleaner", half_finished)],
    "pipeline": [("pipeline", half_read)],
}


def kill(process: subprocess.Popen[bytes], victim: str) -> int:
    """Kill a kind of process under this one with SIGKILL; how many there were."""
    family = psutil.Process(process.pid).children(recursive=True)
    if victim == "pipeline":
        chosen = [psutil.Process(process.pid), *family]
    else:
        chosen = [one for one in family if VICTIMS[victim] in " ".join(_words(one))]
    for one in chosen:
        one.kill()
    return len(chosen)


def _words(process: psutil.Process) -> list[str]:
    try:
        words = process.cmdline()
    except psutil.Error:
        return []
    return [] if "pyspark-shell" in words else words


def start(root: Path) -> subprocess.Popen[bytes]:
    """A wash in a process of its own."""
    output = (root / "output.txt").open("ab")
    return subprocess.Popen(
        [sys.executable, __file__, "--wash", str(root)], stdout=output, stderr=output
    )


def run(plan: str, corpus: Path, root: Path) -> tuple[dict[str, str], float, int]:
    """Digests of the files of a wash, its seconds, and how many processes were killed in it."""
    folder = root / "raw" / "jira"
    folder.mkdir(parents=True)
    for path in corpus.iterdir():
        os.link(path, folder / path.name)
    began, killed = time.monotonic(), 0
    process = start(root)
    for victim, moment in PLANS[plan]:
        while not moment(root) and process.poll() is None:
            time.sleep(0.1)
        found = kill(process, victim) if process.poll() is None else 0
        if not found:
            raise SystemExit(f"{plan}: nothing to kill; see {root / 'output.txt'}")
        killed += found
        if victim == "pipeline":
            process.wait()
            process = start(root)
    if process.wait() != 0:
        raise SystemExit(f"{plan}: the wash failed:\n{(root / 'output.txt').read_text()[-2000:]}")
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (root / "processed" / RUN).iterdir()
        if path.is_file()
    }
    return digests, time.monotonic() - began, killed


def main() -> None:
    """Run every plan on the same corpus and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=200, help="raw megabytes (default 200)")
    parser.add_argument("--issues", type=Path, default=Path("../shared/data/jira_gpt2sp"))
    parser.add_argument("--plans", default=",".join(PLANS), help="comma-separated")
    parser.add_argument("--wash", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.wash:
        return wash(options.wash)
    with tempfile.TemporaryDirectory(prefix="alchemy-kill-") as place:
        corpus = Path(place, "corpus")
        print(f"{write_corpus(options.issues, corpus, options.mb)} records, {options.mb} MB raw")
        expected: dict[str, str] = {}
        differ = False
        for plan in dict.fromkeys(("undisturbed", *options.plans.split(","))):
            digests, seconds, killed = run(plan, corpus, Path(place, plan))
            expected = expected or digests
            same = digests == expected
            differ |= not same
            verdict = "same bytes" if same else "DIFFERENT"
            print(f"{plan:>12} {seconds:8.1f} s {killed:3} killed  {len(digests)} files: {verdict}")
            sys.stdout.flush()
    return sys.exit(1) if differ else None


if __name__ == "__main__":
    main()
