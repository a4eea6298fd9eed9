"""Stage `train` around the training loop: what goes to the workers, what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alchemy.config import Settings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.protocols import Lake
from alchemy.stage import StageContext
from alchemy.training.adapters import publish_adapter
from alchemy.training.base import fetch_base
from alchemy.training.dataset import pairs_digest, read_pairs
from alchemy.types import Receipt, text_digest

if TYPE_CHECKING:
    from alchemy.training.lora import Job

TRAIN_FILE, EVAL_FILE = "sft_train.jsonl", "sft_eval.jsonl"


@dataclass(frozen=True)
class Plan:
    """What every worker trains, by lake key and digest.

    Attributes:
        name: of the attempt's checkpoints; changes with anything that changes the adapter, so
            that an interrupted run resumes its own checkpoints and no others.
        checkpoints: lake prefix of the checkpoints.
    """

    name: str
    train_key: str
    eval_key: str
    base_digest: str
    checkpoints: str


def plan(context: StageContext) -> Plan:
    """Read the receipts this stage needs and check its input, before any worker starts."""
    settings = context.settings
    refined = context.receipt_of("refine")
    base = context.receipt_of("base")
    keys = [f"{refined.uri}/{name}" for name in (TRAIN_FILE, EVAL_FILE)]
    digests = [pairs_digest(read_pairs(context.fetch(key))) for key in keys]
    _, base_digest = fetch_base(context.lake, settings.model_c, base_cache(settings))
    shaping = (settings.model_c.model_dump_json(), settings.training.model_dump_json())
    context.progress("train.planned", {"base": base.uri, "dataset": digests[0]})
    return Plan(
        name=f"lora-{text_digest(base_digest, *digests, *shaping)[:12]}",
        train_key=keys[0],
        eval_key=keys[1],
        base_digest=base_digest,
        checkpoints=f"runs/{context.run_id}/train/checkpoints",
    )


def job_of(plan: Plan, lake: Lake, settings: Settings, scratch: Path, device: str) -> Job:
    """On a worker: fetch what the plan names.

    Raises:
        AlchemyError: CONFLICT when this machine's base model is not the planned one.
    """
    from alchemy.training.lora import Job

    base_dir, digest = fetch_base(lake, settings.model_c, base_cache(settings))
    if digest != plan.base_digest:
        raise AlchemyError(
            ErrorCode.CONFLICT,
            f"the base model in {base_dir} on this machine is not the one this run started with",
            "Put the same model on every machine, or use model_id with a fixed revision.",
        )
    for key in (plan.train_key, plan.eval_key):
        lake.download(key, scratch / Path(key).name)
    return Job(
        base_dir=base_dir,
        train_file=scratch / TRAIN_FILE,
        eval_file=scratch / EVAL_FILE,
        model=settings.model_c.model_copy(update={"device": device}),
        training=settings.training,
    )


def publish(context: StageContext, plan: Plan, checkpoint: Path) -> Receipt:
    """Publish the final checkpoint's adapter and describe it."""
    from alchemy.training.lora import read_outcome

    settings = context.settings
    outcome = read_outcome(checkpoint)
    manifest = publish_adapter(
        context.lake,
        checkpoint,
        context.scratch,
        base_digest=plan.base_digest,
        pairs=read_pairs(context.fetch(plan.train_key), settings.training.max_samples),
        lora=settings.model_c.lora,
        training=settings.training,
        outcome=outcome,
    )
    root = f"adapters/{manifest.version}"
    improvement = 1 - outcome.eval_loss / outcome.base_eval_loss
    return context.receipt(
        root,
        {f"{root}/{name}": digest for name, digest in manifest.files.items()},
        size=manifest.bytes,
        rows=outcome.train_pairs,
        schema=sorted(manifest.files),
        inputs={
            "refine": context.receipt_of("refine").sha256,
            "base": context.receipt_of("base").sha256,
        },
        counts={
            "steps": outcome.steps,
            "train_pairs": outcome.train_pairs,
            "eval_pairs": outcome.eval_pairs,
            "truncated": outcome.truncated,
            "train_loss": outcome.train_loss,
            "base_eval_loss": outcome.base_eval_loss,
            "eval_loss": outcome.eval_loss,
            "improvement": round(improvement, 4),
        },
    )


def base_cache(settings: Settings) -> Path:
    """Where a machine keeps verified copies of the base model."""
    return settings.state_dir / "cache" / "base"
