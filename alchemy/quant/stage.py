"""The quant stage: profile → validate → features → select and explain.

Each step reads and writes files of one directory, so the same functions run in one process (`run`,
`run_table`) and as four actors that hand over through the lake (`actors/quant.py`).
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import polars as pl

from alchemy.config import QualitySignal, QuantSettings, Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.quant.contract import CONTRACT_KEY, Contract, parse_contract
from alchemy.quant.curator import curate, write_features
from alchemy.quant.features import Recipes, plan, write_base
from alchemy.quant.groups import group_places
from alchemy.quant.insights import insights
from alchemy.quant.page import report_page
from alchemy.quant.profile import Profile
from alchemy.quant.records import RECORDS, write_records
from alchemy.quant.scout import scout
from alchemy.quant.table import Table, collect, prepare
from alchemy.quant.validator import enforce, validate
from alchemy.stage import Progress, StageContext, no_progress, write_jsonl
from alchemy.stores import open_lake
from alchemy.stores.versions import file_digest
from alchemy.types import Receipt, digest_of, text_digest

TABLE, BASE = "work/table.parquet", "work/base_features.parquet"
"""Handed from step to step; `clean` deletes them at the end."""
PROFILE, REPORT, RECIPES = "profile.json", "report.json", "features.json"
FEATURES, INSIGHTS = "final_features.parquet", "insights.jsonl"
PAGE = "report.html"
OUTPUT = (FEATURES, PROFILE, REPORT, PAGE, INSIGHTS, RECIPES)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An earlier run's profile (`Profile.to_dict()`) and what to call it in messages."""

    profile: Mapping[str, Any]
    name: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the receipt says: columns of the final features, and counts."""

    rows: int
    schema: tuple[str, ...]
    counts: dict[str, float]


# ---- the four steps, on files of `space`


def profile_table(source: Path, space: Path, settings: QuantSettings) -> Profile:
    """Scout: `source` → TABLE and PROFILE."""
    (space / TABLE).parent.mkdir(parents=True, exist_ok=True)
    profile = scout(prepare(source, space / TABLE, settings.block_columns), settings.block_columns)
    _write_json(space / PROFILE, profile.to_dict())
    return profile


def validate_table(
    space: Path,
    settings: QuantSettings,
    where: str,
    *,
    baseline: Baseline | None = None,
    contract: Contract | None = None,
    report_written: Callable[[], None] = lambda: None,
) -> None:
    """Validator: PROFILE and TABLE → REPORT and PAGE, then SCHEMA_BROKEN or DRIFT_STOP if it must.

    Args:
        where: what the table is called in messages.
        report_written: called before anything is raised, to publish the report.
    """
    profile = _profile(space)
    validation = validate(
        _table(space, profile),
        profile,
        settings,
        baseline=baseline.profile if baseline else None,
        baseline_name=baseline.name if baseline else "",
        contract=contract,
    )
    columns = profile.columns.items()
    report = {
        "table": where,
        "rows": profile.rows,
        "made_null": {
            "infinite": {name: c.infinite for name, c in columns if c.infinite},
            "nan": {name: c.nan for name, c in columns if c.nan},
        },
        "notes": profile.notes,
        "validation": validation.to_dict(),
    }
    _write_json(space / REPORT, report)
    before = Profile.from_dict(baseline.profile) if baseline else None
    (space / PAGE).write_text(report_page(report, profile, before), encoding="utf-8")
    report_written()
    enforce(validation, settings, where)


def make_features(space: Path, settings: QuantSettings, target: str | None = None) -> Recipes:
    """Quant: PROFILE and TABLE → RECIPES and BASE."""
    profile = _profile(space)
    recipes = plan(profile, settings, exclude=[target] if target else [])
    write_base(_table(space, profile), recipes, space / BASE)
    _write_json(space / RECIPES, recipes.to_dict())
    return recipes


def select_and_explain(
    space: Path,
    settings: QuantSettings,
    target: str | None = None,
    progress: Progress = no_progress,
    records: Path | None = None,
) -> Outcome:
    """Curator: RECIPES, BASE and TABLE → FEATURES, INSIGHTS and the rest of REPORT.

    Args:
        records: labels of the documents; with them insights speak of their groups, too.
    """
    profile = _profile(space)
    table = _table(space, profile)
    recipes = Recipes.from_dict(_read_json(space / RECIPES))
    curation = curate(
        space / BASE, recipes, profile.rows, settings, _target(table, profile, target), progress
    )
    write_features(space / BASE, curation.kept, profile.rows, space / FEATURES)
    report = _read_json(space / REPORT)
    generation = {
        "generated": len(recipes.features),
        "first_degree_only": recipes.first_degree_only,
        "products_skipped": recipes.products_skipped,
        "target": target,
    }
    _write_json(space / REPORT, report | {"features": generation, "curation": curation.to_dict()})
    plain = {f.name for f in curation.kept if f.kind == "scaled"}
    # how a text is written is worth a filter or a feature, not a sentence about its document
    columns = [n for n in profile.columns if n in plain and n not in get_args(QualitySignal)]
    size = (columns, profile.rows, settings.block_columns)
    places = group_places(table.scan(), records, *size) if records else {}
    written = write_jsonl(space / INSIGHTS, insights(table.scan(), *size, places))
    drift = report["validation"]["drift"]
    return Outcome(
        rows=profile.rows,
        schema=("document_id", *(f.name for f in curation.kept)),
        counts={
            "columns_in": len(profile.columns),
            "features_generated": len(recipes.features),
            "features_kept": len(curation.kept),
            "insights": written,
            "drift_warnings": sum(d["verdict"] == "warn" for d in drift),
        },
    )


# ---- the same steps on the lake


def scout_step(context: StageContext) -> Receipt:
    """Profile the metrics of this run."""
    source = context.fetch(f"processed/{context.run_id}/metrics.parquet")
    profile = profile_table(source, _space(context), context.settings.quant)
    context.progress("quant.profiled", {"rows": profile.rows, "columns": len(profile.columns)})
    return _publish(context, [TABLE, PROFILE], profile.rows)


def validate_step(context: StageContext, baseline: Baseline | None = None) -> Receipt:
    """Check the profile; the report is in the lake before this raises."""
    space = _fetched(context, TABLE, PROFILE)
    contract = None
    if context.lake.exists(CONTRACT_KEY):
        contract = parse_contract(context.lake.read(CONTRACT_KEY), CONTRACT_KEY)

    def upload() -> None:
        for name in (REPORT, PAGE):
            context.lake.upload(f"{_prefix(context)}/{name}", space / name)

    validate_table(
        space,
        context.settings.quant,
        f"metrics of run {context.run_id}",
        baseline=baseline,
        contract=contract,
        report_written=upload,
    )
    verdict = _read_json(space / REPORT)["validation"]["verdict"]
    context.progress("quant.validated", {"verdict": verdict})
    return _publish(context, [REPORT, PAGE], 0)


def features_step(context: StageContext) -> Receipt:
    """Plan the features and write the first-degree ones."""
    recipes = make_features(_fetched(context, TABLE, PROFILE), context.settings.quant)
    context.progress("quant.generated", {"features": len(recipes.features)})
    return _publish(context, [RECIPES, BASE], len(recipes.features))


def curate_step(context: StageContext) -> Receipt:
    """Select, rank and explain; the receipt of the stage."""
    space = _fetched(context, TABLE, BASE, PROFILE, RECIPES, REPORT, PAGE)
    wash = f"processed/{context.run_id}"
    corpus = context.fetch(f"{wash}/cleaned_corpus.jsonl")
    metrics, removed = (context.fetch(f"{wash}/{n}") for n in ("metrics.parquet", "removed.jsonl"))
    write_records(corpus, metrics, removed, space / RECORDS)
    outcome = select_and_explain(
        space, context.settings.quant, progress=context.progress, records=space / RECORDS
    )
    return _publish(context, (*OUTPUT, RECORDS), outcome.rows, outcome)


def run(context: StageContext, baseline: Baseline | None = None) -> Receipt:
    """The whole stage in this process."""
    scout_step(context)
    validate_step(context, baseline)
    features_step(context)
    receipt = curate_step(context)
    clean(context.lake, context.run_id)
    return receipt


def clean(lake: Lake, run_id: str) -> None:
    """Delete what the steps handed over."""
    for name in (TABLE, BASE):
        lake.delete(f"quant/{run_id}/{name}")


def run_table(
    source: str | Path,
    output: str | Path,
    settings: Settings,
    *,
    target: str | None = None,
    baseline: Baseline | None = None,
    contract: Contract | None = None,
    progress: Progress = no_progress,
) -> Receipt:
    """Profile, check, expand and select the columns of any CSV or Parquet table.

    Args:
        source: local file, or the key of a lake object when there is no such file. One column named
            `document_id` or `id` identifies the rows.
        output: local directory (made) that gets the stage's output files.
        target: column to rank the features by; it makes no feature itself.

    Raises:
        AlchemyError: as `prepare` and `enforce` do; INPUT_INVALID for an unknown target.
    """
    started = time.monotonic()
    directory = Path(output)
    with tempfile.TemporaryDirectory(prefix="alchemy-quant-") as scratch:
        space = Path(scratch) / "space"
        path = _local(source, settings, Path(scratch))
        profile_table(path, space, settings.quant)
        validate_table(
            space,
            settings.quant,
            str(source),
            baseline=baseline,
            contract=contract,
            report_written=lambda: _copy(space, directory, [PROFILE, REPORT, PAGE]),
        )
        _target(_table(space, _profile(space)), _profile(space), target)
        make_features(space, settings.quant, target)
        outcome = select_and_explain(space, settings.quant, target, progress)
        _copy(space, directory, OUTPUT)
        inputs = {str(source): file_digest(path), "settings": _digest(settings)}
    files = {str(directory / name): file_digest(directory / name) for name in OUTPUT}
    return Receipt(
        run_id="local",
        stage="quant",
        uri=str(directory),
        rows=outcome.rows,
        bytes=sum((directory / name).stat().st_size for name in OUTPUT),
        sha256=digest_of(files),
        schema=outcome.schema,
        inputs=inputs,
        seconds=round(time.monotonic() - started, 3),
        files=files,
        counts=outcome.counts,
    )


def _local(source: str | Path, settings: Settings, scratch: Path) -> Path:
    path = Path(source)
    if path.exists() or path.is_absolute() or ".." in path.parts:
        return path
    lake, key = open_lake(settings.lake), path.as_posix()
    if not lake.exists(key):
        raise AlchemyError(
            ErrorCode.NOT_FOUND,
            f"there is neither a file {path} nor a lake object {key!r} in {lake.uri}",
        )
    lake.download(key, scratch / path.name)
    return scratch / path.name


def _copy(space: Path, directory: Path, names: Sequence[str]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            (directory / name).write_bytes((space / name).read_bytes())
    except OSError as error:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"cannot write to the output directory {directory}: {error.strerror or error}",
            "Give a directory that can be written.",
        ) from error


def _target(table: Table, profile: Profile, target: str | None) -> pl.Series | None:
    if target is None:
        return None
    if target not in profile.columns:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"there is no target column {target!r}",
            f"Columns: {', '.join(profile.columns)}.",
        )
    return collect(table.scan().select(target))[target]


def _prefix(context: StageContext) -> str:
    return f"quant/{context.run_id}"


def _space(context: StageContext) -> Path:
    """Where `fetch` puts this stage's own files: steps in one process find them already there."""
    return context.scratch / "in" / _prefix(context)


def _fetched(context: StageContext, *names: str) -> Path:
    for name in names:
        context.fetch(f"{_prefix(context)}/{name}")
    return _space(context)


def _publish(
    context: StageContext, names: Sequence[str], rows: int, outcome: Outcome | None = None
) -> Receipt:
    return context.finish(
        _prefix(context),
        {name: _space(context) / name for name in names},
        rows=rows,
        schema=outcome.schema if outcome else (),
        inputs={
            "wash": context.receipt_of("wash").sha256,
            "settings": _digest(context.settings),
        },
        counts=outcome.counts if outcome else None,
    )


def _digest(settings: Settings) -> str:
    return text_digest(settings.quant.model_dump_json())


def _profile(space: Path) -> Profile:
    return Profile.from_dict(_read_json(space / PROFILE))


def _table(space: Path, profile: Profile) -> Table:
    return Table(space / TABLE, profile.rows, tuple(profile.numbers()))


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
