"""The embedded base model: tokenizer and small Llama trained from scratch on the corpus."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alchemy.config import SmallLlamaSettings
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.models.devices import pick_device
from alchemy.models.prompts import instruction_prompt
from alchemy.stage import Progress, no_progress
from alchemy.training.optimizing import pick_precision, rate_at, step_optimizer

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
_HELD_OUT_SHARE = 0.02
_REPORT_EVERY = 25


@dataclass(frozen=True)
class PretrainResult:
    """What was built, in numbers; losses are nats per token."""

    steps: int
    parameters: int
    corpus_tokens: int
    train_loss: float
    eval_loss: float


def build_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every string is representable, and decodes to itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # the template's words count once per fifty texts, so that a prompt costs few tokens
    template = [instruction_prompt("")] * max(2, len(texts) // 50)
    tokenizer.train_from_iterator([*texts, *template], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS
    )


def pretrain(
    texts: Sequence[str],
    settings: SmallLlamaSettings,
    output: Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress = no_progress,
) -> PretrainResult:
    """Train tokenizer and model on `texts` and save them as a transformers directory.

    The same texts, settings and number of threads give the same weights.

    Raises:
        AlchemyError: INPUT_INVALID for a corpus too small to cut one training window from.
    """
    tokenizer = build_tokenizer(texts, settings.vocab_size)
    train, held_out = _token_streams(texts, tokenizer, settings)
    device = pick_device(device)
    precision = pick_precision(dtype, device)
    torch.manual_seed(settings.seed)
    # Any: transformers' decorators hide the type of `.to` from the checker
    model: Any = LlamaForCausalLM(_architecture(tokenizer, settings))
    model.to(device)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.95),
    )
    scaler = torch.amp.GradScaler(device, enabled=precision.dtype is torch.float16)
    random = np.random.default_rng(settings.seed)
    warmup = max(1, settings.steps // 20)
    window = settings.sequence + 1
    smooth = 0.0
    model.train()
    for step in range(settings.steps):
        starts = random.integers(0, len(train) - window + 1, settings.batch_size)
        batch = torch.from_numpy(np.stack([train[s : s + window] for s in starts])).to(device)
        with precision.autocast():
            loss = _loss(model, batch)
        scaler.scale(loss).backward()
        rate = rate_at(step, settings.steps, settings.learning_rate, warmup)
        step_optimizer(optimizer, scaler, rate, clip=1.0)
        smooth = loss.item() if step == 0 else 0.9 * smooth + 0.1 * loss.item()
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == settings.steps:
            fields = {"step": step + 1, "steps": settings.steps, "loss": round(smooth, 4)}
            progress("base.step", fields)
    eval_loss = _held_out_loss(model, held_out, window, device)
    model.to("cpu").save_pretrained(output)
    tokenizer.save_pretrained(output)
    return PretrainResult(
        steps=settings.steps,
        parameters=sum(p.numel() for p in model.parameters()),
        corpus_tokens=len(train) + len(held_out),
        train_loss=round(smooth, 4),
        eval_loss=round(eval_loss, 4),
    )


def _architecture(tokenizer: PreTrainedTokenizerFast, settings: SmallLlamaSettings) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        pad_token_id=_id(tokenizer, PAD),
        bos_token_id=_id(tokenizer, BOS),
        eos_token_id=_id(tokenizer, EOS),
    )


def _token_streams(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, settings: SmallLlamaSettings
) -> tuple[np.ndarray, np.ndarray]:
    """All texts as int64 tokens in shuffled order, each `<s> … </s>`: (train, held out)."""
    # one pool of threads per process, also inside a Ray worker that forks none
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    order = np.random.default_rng(settings.seed).permutation(len(texts))
    encoded = tokenizer.backend_tokenizer.encode_batch([texts[i] for i in order])
    end = _id(tokenizer, EOS)
    held_out = max(1, int(len(texts) * _HELD_OUT_SHARE))
    streams = [
        np.asarray([t for e in part for t in (*e.ids, end)], dtype=np.int64)
        for part in (encoded[held_out:], encoded[:held_out])
    ]
    if len(streams[0]) <= settings.sequence:
        raise AlchemyError(
            ErrorCode.INPUT_INVALID,
            f"the corpus has {len(streams[0])} tokens, fewer than one training window of "
            f"{settings.sequence + 1}",
            "Ingest more text, or lower model_c.small_llama.sequence.",
        )
    return streams[0], streams[1]


def _id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    return tokenizer.backend_tokenizer.get_vocab()[token]


def _loss(model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=batch[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


@torch.no_grad()
def _held_out_loss(
    model: LlamaForCausalLM, stream: np.ndarray, window: int, device: str, most: int = 64
) -> float:
    """Mean over up to `most` windows; of the whole stream when it is shorter than one."""
    model.eval()
    window = min(window, len(stream))
    count = min(most, len(stream) // window)
    batch = torch.from_numpy(stream[: count * window].reshape(count, window)).to(device)
    losses = [_loss(model, part) * len(part) for part in batch.split(16)]
    return float(torch.stack(losses).sum() / count)
