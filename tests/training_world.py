"""A small world to train in: tiny settings, documents, pairs, and surroundings without Ray."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from alchemy.config import (
    CausalModelSettings,
    LoraSettings,
    SmallLlamaSettings,
    TrainingSettings,
)
from alchemy.types import Document, SftPair

TINY = SmallLlamaSettings(
    vocab_size=512,
    hidden_size=32,
    intermediate_size=64,
    layers=2,
    heads=2,
    context=128,
    steps=60,
    batch_size=8,
    sequence=48,
    learning_rate=5e-3,
)
MODEL = CausalModelSettings(
    device="cpu",
    dtype="float32",
    small_llama=TINY,
    lora=LoraSettings(r=8, alpha=16, dropout=0.1),
)
TRAINING = TrainingSettings(
    max_steps=12, batch_size=4, learning_rate=2e-2, checkpoint_every=4, max_length=64
)
_PARTS = ("sink", "source", "job", "stream", "module", "shell", "container", "admin")


def document(number: int) -> Document:
    part = _PARTS[number % len(_PARTS)]
    return Document(
        id=f"jira:XD-{number}",
        source="jira",
        title=f"The {part} number {number} fails",
        text=f"When the {part} starts it reads the file {number} and then it stops. " * 3,
        uri=f"https://jira/XD-{number}",
        tenant="default",
        acl=("everyone",),
        content_hash=f"hash-{number}",
    )


def pair(number: int, acl: tuple[str, ...] = ("everyone",)) -> SftPair:
    part = _PARTS[number % len(_PARTS)]
    return SftPair(
        id=f"sft-{number:04}",
        instruction=f"What fails in XD-{number}?",
        response=f"The {part} number {number} fails when it starts.",
        chunk_ids=(f"jira:XD-{number}#0",),
        document_ids=(f"jira:XD-{number}",),
        tenant="default",
        acl=acl,
        kind="summary",
        verified=True,
    )


class Alone:
    """The training loop's surroundings for one process: checkpoints in a directory.

    Args:
        crash_after: raise `KeyboardInterrupt` once this step is saved.
    """

    rank = 0
    world_size = 1

    def __init__(self, directory: Path, crash_after: int = 0) -> None:
        self.directory = directory
        self.saves: list[int] = []
        self._crash_after = crash_after

    def distribute(self, model: Any) -> Any:
        return model

    def resume_from(self, into: Path) -> bool:
        if not self.directory.exists():
            return False
        shutil.copytree(self.directory, into)
        return True

    def save(self, checkpoint: Path | None, outcome: Any) -> None:
        assert checkpoint is not None
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(checkpoint, self.directory)
        self.saves.append(outcome.steps)
        if outcome.steps == self._crash_after:
            raise KeyboardInterrupt
