"""The LoRA training loop, with what surrounds it (Ray Train, or nothing) passed in."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from alchemy.config import CausalModelSettings, LoraSettings, TrainingSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.devices import pick_device, pick_dtype
from alchemy.models.huggingface import load_causal
from alchemy.models.weights import ADAPTER_WEIGHTS
from alchemy.stage import Progress
from alchemy.training.dataset import (
    IGNORED,
    Example,
    batch_order,
    collate,
    encode_pair,
    read_pairs,
)
from alchemy.training.optimizing import Precision, pick_precision, rate_at, step_optimizer

_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"
_REPORT_EVERY = 10


class Surroundings(Protocol):
    """Where the loop runs: one of `world_size` workers that each call these in the same order."""

    @property
    def rank(self) -> int:
        """Number of this worker, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """How many workers share each batch."""
        ...

    def distribute(self, model: Any) -> Any:
        """The model as the loop calls it, gradients averaged over workers."""
        ...

    def resume_from(self, into: Path) -> bool:
        """Copy the newest checkpoint's files to `into`; False when there is none."""
        ...

    def save(self, checkpoint: Path | None, outcome: Outcome) -> None:
        """Keep the checkpoint directory (rank 0 has one); all workers call it."""
        ...


@dataclass(frozen=True)
class Job:
    """What to train: local files and settings."""

    base_dir: Path
    train_file: Path
    eval_file: Path
    model: CausalModelSettings
    training: TrainingSettings


@dataclass(frozen=True)
class Outcome:
    """Where training stands; losses are nats per response token.

    Attributes:
        steps: optimizer steps done; `total_steps` when finished.
        truncated: training pairs that were cut to `max_length`.
    """

    steps: int
    total_steps: int
    train_pairs: int
    eval_pairs: int
    truncated: int
    train_loss: float
    base_eval_loss: float
    eval_loss: float


def train(job: Job, around: Surroundings, scratch: Path, progress: Progress) -> Outcome:
    """Train a LoRA adapter, from the newest checkpoint if there is one.

    Batches, dropout and learning rate are functions of the seed and the step alone, so a run that
    was interrupted ends with the same adapter as one that was not.

    Args:
        scratch: local directory for checkpoints in the making.
        progress: gets `train.step` and `train.eval` events (rank 0 only).

    Raises:
        AlchemyError: CONFIG_INVALID for target modules the base does not have.
    """
    settings = job.training
    device = pick_device(job.model.device)
    precision = pick_precision(job.model.dtype, device)
    weights = pick_dtype(job.model.dtype, device) if device.startswith("cuda") else torch.float32
    base, tokenizer = load_causal(job.base_dir, device, weights, "model_c")
    torch.manual_seed(settings.seed)
    model: Any = get_peft_model(base, lora_config(base, job.model.lora))
    examples = _encode(tokenizer, job.train_file, settings, settings.max_samples)
    held_out = _encode(tokenizer, job.eval_file, settings, settings.eval_samples)
    steps = planned_steps(len(examples), settings)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trainable.values(), lr=settings.learning_rate, weight_decay=0.01)
    scaler = torch.amp.GradScaler(device, enabled=precision.dtype is torch.float16)
    tally = _Tally(around.rank == 0, progress, steps)

    saved = scratch / "resume"
    if around.resume_from(saved):
        start = _restore(saved, model, trainable, optimizer, scaler)
    else:
        with model.disable_adapter():
            base_loss = mean_loss(model, held_out, tokenizer.pad_token_id, precision)
        start = Outcome(
            steps=0,
            total_steps=steps,
            train_pairs=len(examples),
            eval_pairs=len(held_out),
            truncated=sum(not e.complete for e in examples),
            train_loss=math.nan,
            base_eval_loss=base_loss,
            eval_loss=base_loss,
        )
    tally.loss = start.train_loss
    tally.evaluated(start)
    wrapped = around.distribute(model)
    order = batch_order([len(e.ids) for e in examples], settings.batch_size, settings.seed)
    outcome = start
    for step, rows in enumerate(islice(order, start.steps, steps), start.steps):
        # own random numbers per step and worker: nothing to save, nothing to drift on resume
        torch.manual_seed(_mixed(settings.seed, step, around.rank))
        model.train()
        batch = [examples[row] for row in rows]
        loss = _shared_loss(wrapped, batch, tokenizer.pad_token_id, precision, around)
        _require_finite(loss, step, settings.learning_rate)
        scaler.scale(loss).backward()
        rate = rate_at(
            step, steps, settings.learning_rate, max(1, int(steps * settings.warmup_share))
        )
        step_optimizer(optimizer, scaler, rate, clip=1.0)
        tally.stepped(step + 1, loss.item(), rate)
        done = step + 1 == steps
        if done or (step + 1) % settings.checkpoint_every == 0:
            outcome = Outcome(
                **{
                    **asdict(start),
                    "steps": step + 1,
                    "train_loss": round(tally.loss, 6),
                    "eval_loss": mean_loss(model, held_out, tokenizer.pad_token_id, precision),
                }
            )
            tally.evaluated(outcome)
            target = None
            if around.rank == 0:
                target = scratch / f"checkpoint-{step + 1}"
                _save(target, model, trainable, optimizer, scaler, outcome)
            around.save(target, outcome)
            if target is not None:
                shutil.rmtree(target, ignore_errors=True)
    if outcome.steps == start.steps:
        # resumed after the last step: the newest checkpoint must be reported again by this attempt
        around.save(saved if around.rank == 0 else None, outcome)
    return outcome


def _require_finite(loss: torch.Tensor, step: int, rate: float) -> None:
    """Stop before a broken loss reaches the weights: the last checkpoint is still good."""
    if not torch.isfinite(loss):
        raise AlchemyError(
            ErrorCode.STAGE_FAILED,
            f"the training loss is {loss.item()} at step {step + 1}",
            f"Lower training.learning_rate (it is {rate:g}) or train in bfloat16 or float32; "
            "the checkpoints before it are kept.",
        )


def planned_steps(pairs: int, settings: TrainingSettings) -> int:
    """`max_steps`, or as many as `max_epochs` over so few pairs take."""
    per_epoch = max(1, pairs // settings.batch_size)
    return min(settings.max_steps, settings.max_epochs * per_epoch)


def lora_config(base: Any, settings: LoraSettings) -> LoraConfig:
    """PEFT's configuration, after checking that the base has every target module.

    Raises:
        AlchemyError: CONFIG_INVALID listing the base's linear modules.
    """
    head = base.get_output_embeddings()
    linear = {
        name
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }

    def fits(name: str, target: str) -> bool:
        return name == target or name.endswith(f".{target}")

    absent = [t for t in settings.target_modules if not any(fits(name, t) for name in linear)]
    if absent:
        known = sorted({name.rpartition(".")[2] for name in linear})
        raise AlchemyError(
            ErrorCode.CONFIG_INVALID,
            f"model_c.lora.target_modules names {', '.join(absent)}, which the base model "
            f"({type(base).__name__}) does not have",
            f"Its linear modules are: {', '.join(known)}.",
        )
    smallest = min(
        min(module.weight.shape)
        for name, module in base.named_modules()
        if name in linear and any(fits(name, target) for target in settings.target_modules)
    )
    if settings.r > smallest:
        raise AlchemyError(
            ErrorCode.CONFIG_INVALID,
            f"model_c.lora.r is {settings.r}, but the smallest layer it adapts is {smallest} wide",
            f"Set r to at most {smallest}; a larger rank could not learn more.",
        )
    return LoraConfig(
        use_dora=settings.dora,
        use_rslora=settings.rslora,
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules),
        fan_in_fan_out=any(isinstance(m, Conv1D) for m in base.modules()),
    )


@torch.no_grad()
def mean_loss(
    model: nn.Module, examples: Sequence[Example], pad_id: int, precision: Precision
) -> float:
    """Mean loss per response token, in evaluation mode."""
    model.eval()
    ordered = sorted(examples, key=lambda e: len(e.ids))
    total = 0.0
    for start in range(0, len(ordered), 16):
        loss = _summed_loss(model, ordered[start : start + 16], pad_id, precision)
        total += float(loss)
    return round(total / sum(e.targets for e in examples), 6)


def _encode(tokenizer: Any, path: Path, settings: TrainingSettings, limit: int) -> list[Example]:
    pairs = read_pairs(path, limit)
    return [encode_pair(tokenizer, pair, settings.max_length) for pair in pairs]


def _summed_loss(
    model: nn.Module, examples: Sequence[Example], pad_id: int, precision: Precision
) -> torch.Tensor:
    batch = {k: v.to(precision.device) for k, v in collate(examples, pad_id).items()}
    with precision.autocast():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1),
        batch["labels"][:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def _shared_loss(
    model: nn.Module,
    batch: list[Example],
    pad_id: int,
    precision: Precision,
    around: Surroundings,
) -> torch.Tensor:
    """This worker's part of the batch's mean loss per token.

    Scaled so that the average over workers, which is what DDP takes of gradients, is the mean over
    the whole batch: the curve does not depend on the number of workers.
    """
    mine = batch[around.rank :: around.world_size]
    share = around.world_size / sum(e.targets for e in batch)
    if not mine:  # fewer pairs than workers: every worker must still take part in the step
        mine, share = batch[:1], 0.0
    return _summed_loss(model, mine, pad_id, precision) * share


def _mixed(*parts: int) -> int:
    """One 63-bit seed from several numbers."""
    mixed = 0
    for part in parts:
        mixed = (mixed * 1_000_003 + part + 1) & (2**63 - 1)
    return mixed


class _Tally:
    """Smoothed loss and progress events."""

    def __init__(self, speaks: bool, progress: Progress, steps: int) -> None:
        self.loss = math.nan
        self._speaks = speaks
        self._progress = progress
        self._steps = steps
        self._eval_loss = math.nan
        self._since = time.monotonic()

    def stepped(self, step: int, loss: float, rate: float) -> None:
        self.loss = loss if math.isnan(self.loss) else 0.9 * self.loss + 0.1 * loss
        if self._speaks and (step % _REPORT_EVERY == 0 or step == self._steps):
            self._progress(
                "train.step",
                {
                    "step": step,
                    "steps": self._steps,
                    "loss": round(self.loss, 4),
                    "eval_loss": round(self._eval_loss, 4),
                    "learning_rate": round(rate, 8),
                    "seconds": round(time.monotonic() - self._since, 1),
                },
            )

    def evaluated(self, outcome: Outcome) -> None:
        self._eval_loss = outcome.eval_loss
        if self._speaks:
            self._progress(
                "train.eval",
                {
                    "step": outcome.steps,
                    "eval_loss": outcome.eval_loss,
                    "base_eval_loss": outcome.base_eval_loss,
                },
            )


def _save(
    target: Path,
    model: Any,
    trainable: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    outcome: Outcome,
) -> None:
    """A checkpoint: adapter, optimizer and state, all in formats that are not pickled."""
    shutil.rmtree(target, ignore_errors=True)
    # the auto mode of save_embedding_layers would look the base up on the hub
    model.save_pretrained(target, save_embedding_layers=False)
    moments = {
        f"{name}|{key}": value.contiguous()
        for name, parameter in trainable.items()
        for key, value in optimizer.state[parameter].items()
    }
    save_file(moments, target / _OPTIMIZER)
    state = {"outcome": asdict(outcome), "scaler": scaler.state_dict()}
    (target / _STATE).write_text(json.dumps(state), encoding="utf-8")


def _restore(
    saved: Path,
    model: Any,
    trainable: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> Outcome:
    set_peft_model_state_dict(model, load_file(saved / ADAPTER_WEIGHTS))
    for key, value in load_file(saved / _OPTIMIZER).items():
        name, _, entry = key.rpartition("|")
        parameter = trainable[name]
        # AdamW keeps its step counter on the CPU and its moments beside the weights
        place = "cpu" if entry == "step" else parameter.device
        optimizer.state[parameter][entry] = value.to(place)
    state = json.loads((saved / _STATE).read_text(encoding="utf-8"))
    if state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    return Outcome(**state["outcome"])


def read_outcome(checkpoint: Path) -> Outcome:
    """What a checkpoint directory says about the training it came from."""
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    return Outcome(**state["outcome"])
