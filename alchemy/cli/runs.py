"""`ingest | quant | train | eval | full-cycle | schedule | submit`: the pipeline."""

from __future__ import annotations

import argparse
import os
import shlex
import time
from pathlib import Path
from typing import Any

from alchemy.cli import add_command
from alchemy.cli.cluster import ray_cluster
from alchemy.cli.lake import pull_databases, upload_tree
from alchemy.cli.output import Output, receipt_line
from alchemy.cli.processes import State, ray_environment
from alchemy.config import Settings, load_settings
from alchemy.errors import AlchemyError, ErrorCode

_INGEST_TARGETS = {"wash": "wash", "refine": "refine", "all": "index"}


def register(commands: Any) -> None:
    """Add the commands of this group."""
    parser = add_command(
        commands,
        "ingest",
        ingest,
        "clean raw data with Spark on Ray and build pairs and index",
        "data-alchemy ingest --stage all --input exports/",
    )
    _sync_options(parser)
    parser.add_argument(
        "--stage",
        choices=sorted(_INGEST_TARGETS),
        default="all",
        help="how far: wash, refine (adds SFT pairs), all (adds the index; default)",
    )
    parser.add_argument("--synthesis", action="store_true", help="write SFT pairs as well")
    parser.add_argument(
        "--input", metavar="DIR", help="copy this directory into the lake's raw/ first"
    )
    _max_samples(parser)
    parser = add_command(
        commands,
        "sync",
        sync,
        "ingest what changed and answer from it at once (a full cycle trains later)",
        "alchemy sync --input exports/",
    )
    parser.add_argument(
        "--input", metavar="DIR", help="copy this directory into the lake's raw/ first"
    )
    _sync_options(parser)
    parser = add_command(
        commands,
        "quant",
        quant,
        "profile, validate and select numeric features",
        "data-alchemy quant --input metrics.csv --output out/",
    )
    parser.add_argument(
        "--input",
        metavar="PATH",
        help="CSV or Parquet with an id column, local or s3://bucket/key (default: the run's metrics)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="directory or s3://bucket/prefix to write to (with --input)"
    )
    parser = add_command(
        commands, "train", train, "fine-tune the LoRA adapter with Ray Train", "data-alchemy train"
    )
    _max_samples(parser)
    add_command(
        commands, "eval", evaluate, "evaluate index and adapter of this run", "alchemy eval"
    )
    parser = add_command(
        commands,
        "full-cycle",
        full_cycle,
        "ingest, quant, refine, index, train, evaluate and release",
        "data-alchemy full-cycle",
    )
    _max_samples(parser)
    _sync_options(parser)
    parser.add_argument(
        "--synthesis", action="store_true", help="accepted for old scripts; always on"
    )
    parser = add_command(
        commands,
        "schedule",
        schedule,
        "run full cycles again and again, in the foreground",
        "data-alchemy schedule --interval 6",
    )
    parser.add_argument(
        "--interval", type=float, required=True, metavar="HOURS", help="hours between starts"
    )
    _max_samples(parser)
    parser = add_command(
        commands,
        "submit",
        submit,
        "run a data-alchemy command as a Ray job and follow its log",
        "alchemy submit full-cycle",
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="COMMAND …")


def _sync_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=["auto", "spark", "ray"],
        help="engine of the wash: RayDP Spark, or Ray tasks for small increments (default: auto)",
    )
    parser.add_argument(
        "--full", action="store_true", help="read everything again, not only what changed"
    )
    parser.add_argument(
        "--allow-vanished",
        action="store_true",
        help="go on although most of a source is no longer in the raw data",
    )


def _max_samples(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max_samples",
        "--max-samples",
        type=int,
        default=0,
        metavar="N",
        help="at most N SFT pairs",
    )


def _settings(arguments: argparse.Namespace) -> Settings:
    settings = load_settings(arguments.config)
    limit = getattr(arguments, "max_samples", 0)
    if limit < 0:
        raise AlchemyError(ErrorCode.INPUT_INVALID, f"--max_samples {limit} is negative")
    if limit:
        synthesis = settings.synthesis.model_copy(update={"max_samples": limit})
        settings = settings.model_copy(update={"synthesis": synthesis})
    changes = {
        "engine": getattr(arguments, "mode", None),
        "full": getattr(arguments, "full", False) or None,
        "max_vanished_share": 1.0 if getattr(arguments, "allow_vanished", False) else None,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    return settings.model_copy(update={"sync": settings.sync.model_copy(update=given)})


def run_stages(settings: Settings, targets: tuple[str, ...], out: Output) -> dict[str, Any]:
    """Run stages on the cluster with progress; the run report."""
    from alchemy.stores import open_lake

    open_lake(settings.lake).check_writable()
    with ray_cluster(settings, State(settings)):
        from actors.pipeline import execute

        report = execute(settings, targets, out.event)
    out.close()
    reused = len(report["reused"])
    out.line(
        f"run {report['run_id']} {report['status']}"
        + (f" ({reused} of {len(report['receipts'])} receipts reused)" if reused else ""),
        run_id=report["run_id"],
        status=report["status"],
        reused=report["reused"],
    )
    return report


def ingest(arguments: argparse.Namespace, out: Output) -> None:
    """Wash, and as far as asked."""
    settings = _settings(arguments)
    _upload(arguments, settings, out)
    pull_databases(settings, out)
    targets = [_INGEST_TARGETS[arguments.stage]]
    if arguments.synthesis or arguments.stage == "all":
        targets.append("refine")
    run_stages(settings, tuple(dict.fromkeys(targets)), out)


def sync(arguments: argparse.Namespace, out: Output) -> None:
    """What changed, as far as answers: index it and make it live, train nothing."""
    settings = _settings(arguments)
    _upload(arguments, settings, out)
    pull_databases(settings, out)
    run_stages(settings, ("refresh",), out)


def _upload(arguments: argparse.Namespace, settings: Settings, out: Output) -> None:
    if not arguments.input:
        return
    from alchemy.stores import open_lake

    source = Path(arguments.input)
    raw = source / "raw" if (source / "raw").is_dir() else source
    sent = upload_tree(open_lake(settings.lake), raw, "raw")
    out.line(f"{sent} new or changed files in the lake", uploaded=sent)


def quant(arguments: argparse.Namespace, out: Output) -> None:
    """The quant stage of the run, or any table."""
    settings = load_settings(arguments.config)
    if not arguments.input:
        run_stages(settings, ("quant",), out)
        return
    from alchemy.quant.tables import run_table
    from alchemy.stores import open_lake

    given = str(arguments.input)
    remote = given.startswith("s3://")
    path = given if remote else resolve_alias(open_lake(settings.lake), given)
    receipt = run_table(path, arguments.output or "quant-report", settings).to_dict()
    out.result(receipt, receipt_line(receipt, reused=False))


def resolve_alias(lake: Any, given: str) -> Path:
    """A local path, or `…/processed/metrics.parquet` of the newest run."""
    import json
    import tempfile

    path = Path(given)
    if path.exists():
        return path
    if path.parent.name == "processed":
        runs = []
        for item in lake.list("runs/"):
            if item.key.endswith("/report.json"):
                report = json.loads(lake.read(item.key))
                if "wash" in report["receipts"]:
                    runs.append((report["started_at"], report["run_id"]))
        if runs:
            target = Path(tempfile.mkdtemp(prefix="alchemy-")) / path.name
            lake.download(f"processed/{max(runs)[1]}/{path.name}", target)
            return target
    raise AlchemyError(
        ErrorCode.INPUT_UNREADABLE,
        f"{given} does not exist",
        "Give an existing file, or run `data-alchemy ingest` first for data/processed/metrics.parquet.",
    )


def train(arguments: argparse.Namespace, out: Output) -> None:
    """Base model and adapter."""
    run_stages(_settings(arguments), ("train",), out)


def evaluate(arguments: argparse.Namespace, out: Output) -> None:
    """Everything up to the evaluation."""
    report = run_stages(_settings(arguments), ("evaluate",), out)
    counts = report["receipts"]["evaluate"]["counts"]
    out.result(counts, "\n".join(f"  {name:<28} {value:.3f}" for name, value in counts.items()))


def full_cycle(arguments: argparse.Namespace, out: Output) -> None:
    """Everything, ending with the live pointer moved."""
    settings = _settings(arguments)
    pull_databases(settings, out)
    run_stages(settings, ("release",), out)


def schedule(arguments: argparse.Namespace, out: Output) -> None:
    """A full cycle every so many hours; a failed one is reported and the next still starts."""
    if arguments.interval <= 0:
        raise AlchemyError(ErrorCode.INPUT_INVALID, "--interval must be above 0 hours")
    settings = _settings(arguments)
    while True:
        began = time.monotonic()
        try:
            pull_databases(settings, out)
            run_stages(settings, ("release",), out)
        except AlchemyError as error:
            out.close()
            out.line(f"cycle failed: {error}", error=error.to_dict())
        rest = arguments.interval * 3600 - (time.monotonic() - began)
        out.line(f"next cycle in {max(0.0, rest) / 3600:.2f} h")
        time.sleep(max(0.0, rest))


def submit(arguments: argparse.Namespace, out: Output) -> None:
    """`ray job submit -- data-alchemy …`, log followed, exit code of the job."""
    import subprocess
    import sys

    rest = [word for word in arguments.rest if word != "--"]
    if not rest:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID, "nothing to submit", "Example: alchemy submit full-cycle"
        )
    settings = load_settings(arguments.config)
    dashboard = f"http://{settings.ray.dashboard_host}:{settings.ray.dashboard_port}"
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit"]
    if "://" not in os.environ.get("RAY_API_SERVER_ADDRESS", ""):
        command += ["--address", dashboard]
    command += ["--", *shlex.split("data-alchemy"), *rest]
    code = subprocess.run(command, env=ray_environment(), check=False).returncode
    if code:
        raise AlchemyError(ErrorCode.STAGE_FAILED, f"the job ended with exit code {code}")
    out.line("", exit_code=0)
