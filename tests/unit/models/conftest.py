"""A real base model of 30 k parameters, and adapters that change its answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alchemy.config import CausalModelSettings, SmallLlamaSettings
from alchemy.models.causal import CausalGenerator

WORDS = "the stream module of a job reads every file and writes one record to the sink".split()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a Llama with 2 layers of 32, trained for a few steps."""
    from alchemy.training.pretrain import pretrain

    chance = random.Random(7)
    texts = [" ".join(chance.choices(WORDS, k=30)) for _ in range(60)]
    settings = SmallLlamaSettings(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        layers=2,
        heads=2,
        context=128,
        steps=40,
        batch_size=8,
        sequence=32,
        learning_rate=5e-3,
    )
    directory = tmp_path_factory.mktemp("tiny-base")
    pretrain(texts, settings, directory, device="cpu", dtype="float32")
    return directory


@pytest.fixture(scope="session")
def make_adapter(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """Seed → directory of an adapter that visibly changes what the tiny base says."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def make(seed: int) -> Path:
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(tiny_base)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=4,
            lora_alpha=16,
            target_modules=["q_proj", "v_proj", "down_proj"],
            init_lora_weights=False,
        )
        directory = tmp_path_factory.mktemp(f"adapter-{seed}")
        get_peft_model(base, config).save_pretrained(directory, save_embedding_layers=False)
        return directory

    return make


@pytest.fixture(scope="session")
def adapters(make_adapter: Callable[[int], Path]) -> dict[str, Path]:
    return {"ad-one": make_adapter(1), "ad-two": make_adapter(2)}


@pytest.fixture
def generator(tiny_base: Path, adapters: dict[str, Path]) -> CausalGenerator:
    made = CausalGenerator(CausalModelSettings(device="cpu", dtype="float32"), tiny_base)
    for version, directory in adapters.items():
        made.load_adapter(version, directory)
    return made
