"""The quant stage: profile → validate → features → select and explain.

Each step reads and writes files of one directory, so the same functions run in one process (`run`,
`tables.run_table`) and as four actors that hand over through the lake (`actors/quant.py`).
"""

from __future__ import annotations

import dataclasses
import json
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
from alchemy.quant.inbound import with_inbound_links
from alchemy.quant.insights import insights
from alchemy.quant.page import report_page
from alchemy.quant.profile import Profile
from alchemy.quant.records import RECORDS, write_records
from alchemy.quant.scout import scout
from alchemy.quant.table import Table, collect, prepare
from alchemy.quant.trends import Facts, with_run
from alchemy.quant.validator import enforce, validate
from alchemy.stage import Progress, StageContext, no_progress, write_jsonl
from alchemy.types import Receipt, text_digest

METRICS = "work/metrics.parquet"
TABLE, BASE = "work/table.parquet", "work/base_features.parquet"
"""Handed from step to step; `clean` deletes them at the end."""
COPIES = "copies.jsonl"
PROFILE, REPORT, RECIPES = "profile.json", "report.json", "features.json"
FEATURES, INSIGHTS = "final_features.parquet", "insights.jsonl"
PAGE = "report.html"
HISTORY = "history.json"
"""By run and source how many, mean and median of each column; only in the lake."""
OUTPUT = (FEATURES, PROFILE, REPORT, PAGE, INSIGHTS, RECIPES)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An earlier run's profile (`Profile.to_dict()`), what to call it in messages, and the run."""

    profile: Mapping[str, Any]
    name: str
    run_id: str = ""


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
    history: Sequence[Mapping[str, Any]] = (),
    report_written: Callable[[], None] = lambda: None,
) -> None:
    """Validator: PROFILE and TABLE → REPORT and PAGE, then SCHEMA_BROKEN or DRIFT_STOP if it must.

    Args:
        where: what the table is called in messages.
        history: of earlier runs and this one, see `trends.with_run`; drawn on the page.
        report_written: called before anything is raised, to publish the report.
    """
    profile = profile_of(space)
    validation = validate(
        table_of(space, profile),
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
    (space / PAGE).write_text(report_page(report, profile, before, history), encoding="utf-8")
    report_written()
    enforce(validation, settings, where)


def make_features(space: Path, settings: QuantSettings, target: str | None = None) -> Recipes:
    """Quant: PROFILE and TABLE → RECIPES and BASE."""
    profile = profile_of(space)
    recipes = plan(profile, settings, exclude=[target] if target else [])
    write_base(table_of(space, profile), recipes, space / BASE)
    _write_json(space / RECIPES, recipes.to_dict())
    return recipes


def select(
    space: Path,
    settings: QuantSettings,
    target: str | None = None,
    progress: Progress = no_progress,
) -> Outcome:
    """Curator: RECIPES, BASE and TABLE → FEATURES and the rest of REPORT."""
    profile = profile_of(space)
    table = table_of(space, profile)
    recipes = Recipes.from_dict(_read_json(space / RECIPES))
    curation = curate(
        space / BASE, recipes, profile.rows, settings, target_of(table, profile, target), progress
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
    drift = report["validation"]["drift"]
    return Outcome(
        rows=profile.rows,
        schema=("document_id", *(f.name for f in curation.kept)),
        counts={
            "columns_in": len(profile.columns),
            "features_generated": len(recipes.features),
            "features_kept": len(curation.kept),
            "drift_warnings": sum(d["verdict"] == "warn" for d in drift),
        },
    )


def explain(
    space: Path, settings: QuantSettings, outcome: Outcome, facts: Facts | None = None
) -> Outcome:
    """Curator: TABLE → INSIGHTS, about the columns that `select` kept as they are.

    Args:
        facts: with them insights speak of a document's groups and changes, too.
    """
    profile = profile_of(space)
    table = table_of(space, profile)
    kept = set(outcome.schema)
    # how a text is written is worth a filter or a feature, not a sentence about its document
    columns = [n for n in profile.numbers() if n in kept and n not in get_args(QualitySignal)]
    size = (columns, profile.rows, settings.block_columns)
    further = facts.told(table, *size) if facts else {}
    written = write_jsonl(space / INSIGHTS, insights(table.scan(), *size, further))
    return dataclasses.replace(outcome, counts={**outcome.counts, "insights": written})


# ---- the same steps on the lake


def scout_step(context: StageContext) -> Receipt:
    """Profile the metrics of this run, with what only the whole corpus says of a document."""
    metrics, corpus, copies = _washed(context, "metrics.parquet", "cleaned_corpus.jsonl", COPIES)
    space = _space(context)
    (space / METRICS).parent.mkdir(parents=True, exist_ok=True)
    with_inbound_links(metrics, corpus, copies, space / METRICS)
    profile = profile_table(space / METRICS, space, context.settings.quant)
    context.progress("quant.profiled", {"rows": profile.rows, "columns": len(profile.columns)})
    return _publish(context, [METRICS, TABLE, PROFILE], profile.rows)


def validate_step(context: StageContext, baseline: Baseline | None = None) -> Receipt:
    """Check the profile; the report is in the lake before this raises."""
    space = _fetched(context, TABLE, PROFILE)
    contract = None
    if context.lake.exists(CONTRACT_KEY):
        contract = parse_contract(context.lake.read(CONTRACT_KEY), CONTRACT_KEY)

    before = f"quant/{baseline.run_id}/{HISTORY}" if baseline and baseline.run_id else ""
    earlier = _read_json(context.fetch(before)) if before and context.lake.exists(before) else {}
    history = with_run(earlier.get("runs", []), context.run_id, profile_of(space))
    _write_json(space / HISTORY, {"runs": history})

    def upload() -> None:
        for name in (REPORT, PAGE, HISTORY):
            context.lake.upload(f"{_prefix(context)}/{name}", space / name)

    validate_table(
        space,
        context.settings.quant,
        f"metrics of run {context.run_id}",
        baseline=baseline,
        contract=contract,
        history=history,
        report_written=upload,
    )
    verdict = _read_json(space / REPORT)["validation"]["verdict"]
    context.progress("quant.validated", {"verdict": verdict})
    return _publish(context, [REPORT, PAGE, HISTORY], 0)


def features_step(context: StageContext) -> Receipt:
    """Plan the features and write the first-degree ones."""
    recipes = make_features(_fetched(context, TABLE, PROFILE), context.settings.quant)
    context.progress("quant.generated", {"features": len(recipes.features)})
    return _publish(context, [RECIPES, BASE], len(recipes.features))


def curate_step(context: StageContext) -> Receipt:
    """Select, rank and explain; the receipt of the stage."""
    space = _fetched(context, METRICS, TABLE, BASE, PROFILE, RECIPES, REPORT, PAGE, HISTORY)
    corpus, copies = _washed(context, "cleaned_corpus.jsonl", COPIES)
    bad = f"processed/{context.run_id}/quarantine.jsonl"
    quarantine = context.fetch(bad) if context.lake.exists(bad) else None
    write_records(corpus, space / METRICS, copies, space / RECORDS, quarantine)
    facts = Facts(space / RECORDS, _facts_before(context, space))
    outcome = select(space, context.settings.quant, progress=context.progress)
    outcome = explain(space, context.settings.quant, outcome, facts)
    return _publish(context, (*OUTPUT, HISTORY, RECORDS), outcome.rows, outcome)


def _facts_before(context: StageContext, space: Path) -> Path | None:
    """The records of the last released run, where the lake still has them."""
    runs = _read_json(space / HISTORY)["runs"]
    key = f"quant/{runs[-2]['run']}/{RECORDS}" if len(runs) > 1 else ""
    return context.fetch(key) if key and context.lake.exists(key) else None


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
    for name in (METRICS, TABLE, BASE):
        lake.delete(f"quant/{run_id}/{name}")


def target_of(table: Table, profile: Profile, target: str | None) -> pl.Series | None:
    """The values of the target column; INPUT_INVALID for an unknown one."""
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


def _washed(context: StageContext, *names: str) -> list[Path]:
    """Files of this run's wash."""
    return [context.fetch(f"processed/{context.run_id}/{name}") for name in names]


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
            "settings": settings_digest(context.settings),
        },
        counts=outcome.counts if outcome else None,
    )


def settings_digest(settings: Settings) -> str:
    """Digest of what shapes the stage."""
    return text_digest(settings.quant.model_dump_json())


def profile_of(space: Path) -> Profile:
    """The profile that `profile_table` wrote."""
    return Profile.from_dict(_read_json(space / PROFILE))


def table_of(space: Path, profile: Profile) -> Table:
    """The canonical table that `profile_table` wrote."""
    return Table(space / TABLE, profile.rows, tuple(profile.numbers()))


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
